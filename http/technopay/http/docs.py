"""The page at `/docs`: the document to read and to try out, without internet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from html import escape
from importlib.resources import files

from technopay.http.answer import Answer
from technopay.http.problems import NotFound
from technopay.http.routes import Call, Route

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
MEDIA = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
PARTS = ("vendor/swagger-ui-bundle.js", "vendor/swagger-ui.css", "docs.js", "docs.css")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and nothing inline; Swagger UI has its icons as data."""
START_POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
INTRODUCTION = "technopay pays invoices from wallets: confirmed by a second step, exactly once or not at all."
PLACES = {
    "docs": "the API, to read and to try out",
    "openapi.json": "the API as an OpenAPI document",
    "readyz": "whether this server can work now",
    "metrics": "metrics for Prometheus",
}
"""Where a person can go from `/`."""
FOR_A_YEAR = "public, max-age=31536000, immutable"


def docs_routes() -> Sequence[Route]:
    """Make the routes."""
    return (
        Route(
            "GET", "/", "start", "Where to go", None, show_start, None, is_documented=False, ignores_query=True
        ),
        Route(
            "GET", "/docs", "docs", "This document, to read and to try out", None, show_page, None, media=HTML
        ),
        Route(
            "GET",
            "/docs/",
            "docsBelow",
            "As /docs",
            None,
            partial(show_page, up="../"),
            None,
            is_documented=False,
        ),
        Route("GET", "/docs/{part}", "docsPart", "A part of /docs", None, show_part, None, is_documented=False),
    )


async def show_start(call: Call) -> Answer:
    """Answer where to go: as a page to browsers, as text to all others."""
    # Mounted below a path, this is there with a slash at its end and without.
    below = "" if call.request.path.endswith("/") else call.mount.rpartition("/")[2] + "/"
    headers = {"Vary": "Accept, Origin"}
    if "text/html" not in call.headers.get("Accept", "").lower():
        lines = [f"{name:14}{text}" for name, text in PLACES.items()]
        return Answer("\n".join([INTRODUCTION, "", *lines, ""]).encode(), headers=headers, media=TEXT)
    rows = [
        f'<dt><a href="{escape(below + name)}">{name}</a></dt><dd>{text}</dd>' for name, text in PLACES.items()
    ]
    page = _read("start.html").decode().format(introduction=INTRODUCTION, places="\n".join(rows))
    policy = {"Content-Security-Policy": START_POLICY, "Referrer-Policy": "no-referrer"}
    return Answer(page.encode(), headers={**headers, **policy}, media=HTML)


async def show_page(_: Call, up: str = "") -> Answer:
    """Answer the page, for an address from which `up` leads to where /docs is."""
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return Answer(_page(up).encode(), headers=headers, media=HTML)


async def show_part(call: Call) -> Answer:
    """Answer a script or a style of the page. Their names change with what is in them, so they can be kept."""
    name = call.path["part"]
    part = _parts().get(name)
    if part is None:
        raise NotFound
    return Answer(part, headers={"Cache-Control": FOR_A_YEAR}, media=MEDIA[name[name.rindex(".") :]])


@cache
def _page(up: str) -> str:
    """Write the page, with the names that its parts have now."""
    named = {re.sub(r"\.[0-9a-f]{12}\.", ".", name): name for name in _parts()}
    text = _read("docs.html").decode().replace("{up}", up)
    for plain, name in named.items():
        text = text.replace(f"{{{plain}}}", name)
    return text


@cache
def _parts() -> Mapping[str, bytes]:
    """Answer the parts of the page by their names, in which a digest stands before the suffix."""
    found = {}
    for path in PARTS:
        part = _read(path)
        stem, _, suffix = path.rpartition("/")[2].rpartition(".")
        found[f"{stem}.{hashlib.sha256(part).hexdigest()[:12]}.{suffix}"] = part
    return found


def _read(path: str) -> bytes:
    return files("technopay.http").joinpath("docs_page", path).read_bytes()
