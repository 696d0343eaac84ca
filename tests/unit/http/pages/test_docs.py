"""The page at `/docs`: complete, without foreign resources, and working under any mount path."""

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.engine_setup import SECRET
from support.fixtures.vendored import assert_vendored
from yarl import URL

from technopay.engine import Engine, EngineSettings
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.pages.docs import page as docs_module
from technopay.http.problems import PROBLEMS
from technopay.storage import RedisStore

FOLDER = Path(docs_module.__file__).parent
VENDOR = FOLDER / "vendor"
REFERENCE = re.compile(r'(?:src|href)="([^"]+)"')
SOURCES = {"'none'", "'self'", "data:"}

Client = TestClient[web.Request, web.Application]


@pytest.fixture(params=["", "/pay"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Client, str]]:
    """A client of an application served directly, and of one mounted in another."""
    app = create_app(Engine(RedisStore.fake(), EngineSettings(secret=SECRET)), TokenAuthenticator(SECRET))
    if request.param:
        root = web.Application()
        root.add_subapp(request.param, app)
        app = root
    async with TestClient(TestServer(app)) as opened:
        yield opened, request.param


def parts_of(page: str) -> list[str]:
    return [found for found in REFERENCE.findall(page) if found.startswith("docs/")]


async def test_the_page_has_all_its_parts_and_each_can_be_kept_for_ever(client: tuple[Client, str]) -> None:
    opened, mount = client
    async with opened.get(f"{mount}/docs") as response:
        page = await response.text()
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        policy = response.headers["Content-Security-Policy"]
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert {source for sources in directives.values() for source in sources.split()} <= SOURCES
    assert set(REFERENCE.findall(page)) == {*parts_of(page), "openapi.json", "data:,"}
    assert len(parts_of(page)) == 4
    for part in parts_of(page):
        # As a browser resolves it: beside /docs, which has no slash at its end.
        async with opened.get(f"{mount}/{part}") as response:
            text = await response.text()
            assert response.status == 200, part
            kind = "javascript" if part.endswith(".js") else "css"
            assert response.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "immutable" in response.headers["Cache-Control"]
            assert hashlib.sha256(text.encode()).hexdigest()[:12] in part


def test_its_own_files_refer_to_no_other_server() -> None:
    for name in ("docs.html", "docs.js", "docs.css"):
        assert "//" not in re.sub(r"^\s*//.*$", "", (FOLDER / name).read_text(), flags=re.MULTILINE), name
    assert "validatorUrl: null" in (FOLDER / "docs.js").read_text()
    styles = (VENDOR / "swagger-ui.css").read_text()
    assert "@import" not in styles
    assert all(address.startswith("data:") for address in re.findall(r"url\([\"']?([^)]{5})", styles))


async def test_nothing_else_is_served_from_its_folder(client: tuple[Client, str]) -> None:
    opened, mount = client
    for name in ("LICENSE", "docs.html", "docs.js", "..%2fproblems.py", "swagger-ui.000000000000.css"):
        async with opened.get(f"{mount}/docs/{name}") as response:
            assert response.status == 404, name
            assert (await response.json())["code"] == "not_found"


def test_vendored_files_are_unchanged_and_have_their_licence() -> None:
    assert_vendored(VENDOR)
    assert "Apache License" in (VENDOR / "LICENSE").read_text()


async def followed(opened: Client, response: ClientResponse) -> list[str]:
    """Follow the references of a page; return them."""
    links = [each for each in REFERENCE.findall(await response.text()) if not each.startswith("data:")]
    for link in links:
        async with opened.get(response.url.join(URL(link)).path) as answer:
            assert answer.status in (200, 503), link
    return links


async def test_with_a_slash_at_its_end_it_is_the_same_page(client: tuple[Client, str]) -> None:
    opened, mount = client
    async with opened.get(f"{mount}/docs/") as response:
        assert response.status == 200
        assert len(await followed(opened, response)) == 5


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_start_page_has_links(client: tuple[Client, str], slash: str) -> None:
    opened, mount = client
    if not mount and not slash:
        return  # no request is possible there
    async with opened.get(f"{mount}{slash}?utm=1") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert len(await followed(opened, response)) == 4


async def test_a_problem_links_to_the_explanation_of_its_code(client: tuple[Client, str]) -> None:
    opened, mount = client
    async with opened.get(f"{mount}/v1/nothing") as response:
        assert response.headers["Link"] == f'<{mount}/docs/errors#not_found>; rel="help"'
    async with opened.get(f"{mount}/docs/errors") as response:
        page = await response.text()
    assert set(re.findall('id="([^"]+)"', page)) == set(PROBLEMS)
