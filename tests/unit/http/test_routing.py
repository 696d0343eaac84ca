"""The table of routes: every path leads to one place, and what is not there is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from technopay.http import routing
from technopay.http.routing import RouteTable, WebHandler


def named(name: str) -> WebHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(text=name)

    return handle


async def expect(request: web.Request) -> web.StreamResponse | None:
    return None


def make_table() -> RouteTable:
    table = RouteTable(
        named("no path"), lambda path, allowed: named(f"no method of {allowed} at {path}"), expect
    )
    for method, path in (
        ("GET", "/users"), ("POST", "/users"), ("GET", "/users/{user_id}"), ("POST", "/users/{user_id}/block"),
        ("GET", "/users/{user_id}/items/{item}"), ("GET", "/docs/page.css"), ("GET", "/"),
    ):  # fmt: skip
        table.add(method, path, named(f"{method} {path}"))
    return table


async def found(table: RouteTable, method: str, path: str) -> tuple[str, dict[str, str]]:
    request = make_mocked_request(method, path)
    match, _ = await table.resolve(request)
    response = await match.handler(request)
    assert isinstance(response, web.Response)
    return response.text or "", dict(match)


@pytest.mark.parametrize(
    ("method", "path", "name", "ids"),
    [
        ("GET", "/", "GET /", {}),
        ("GET", "/users", "GET /users", {}),
        ("POST", "/users", "POST /users", {}),
        ("GET", "/users?limit=1", "GET /users", {}),
        ("GET", "/users/bob", "GET /users/{user_id}", {"user_id": "bob"}),
        ("GET", "/users/block", "GET /users/{user_id}", {"user_id": "block"}),
        ("POST", "/users/bob/block", "POST /users/{user_id}/block", {"user_id": "bob"}),
        ("GET", "/users/a/items/b", "GET /users/{user_id}/items/{item}", {"user_id": "a", "item": "b"}),
        ("GET", "/docs/page.css", "GET /docs/page.css", {}),
    ],
)
async def test_a_path_leads_to_its_route(method: str, path: str, name: str, ids: dict[str, str]) -> None:
    assert await found(make_table(), method, path) == (name, ids)


@pytest.mark.parametrize(
    "path",
    ["/user", "/users/", "/users//block", "/users/bob/", "/users/bob/items", "/users/bob/block/more",
     "/docs", "/users/{user_id}", "/users/%7Bbob%7D", "/{}", "/users/{}"],
)  # fmt: skip
async def test_a_path_that_is_not_there_is_refused_whatever_the_method(path: str) -> None:
    for method in ("GET", "POST", "BREW"):
        assert await found(make_table(), method, path) == ("no path", {})


async def test_beyond_a_place_that_is_not_there_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    class Nothing(dict[str, routing.Place]):
        def get(self, part: str, default: object = None) -> Any:
            looks.append(part)

    monkeypatch.setattr(routing.NOWHERE, "after", Nothing())
    for path in ("/" * 8_000, "/users/bob/" + "x/" * 4_000):
        assert await found(make_table(), "GET", path) == ("no path", {})
    assert not looks


async def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_takes() -> None:
    assert (await found(make_table(), "DELETE", "/users"))[0] == "no method of GET,POST at /users"
    assert (await found(make_table(), "GET", "/users/bob/block"))[
        0
    ] == "no method of POST at /users/{user_id}/block"


@pytest.mark.parametrize(
    ("path", "user_id"),
    [("b%6Fb", "bob"), ("b%C3%B6b", "böb"), ("b%2Fb", "b/b"), ("b%25b", "b%b"), ("b%252Fb", "b%2Fb")],
)
async def test_what_is_escaped_is_one_part_and_is_read(path: str, user_id: str) -> None:
    assert await found(make_table(), "GET", f"/users/{path}") == ("GET /users/{user_id}", {"user_id": user_id})


@pytest.mark.parametrize("prefixes", [["/pay"], ["/pay", "/shop"], ["/caf%C3%A9"]])
async def test_it_is_mounted_below_paths(prefixes: list[str]) -> None:
    table = make_table()
    for prefix in prefixes:
        table.add_prefix(prefix)

    mount = "".join(reversed(prefixes))
    assert (table.mount, table.canonical) == (mount, mount)
    assert (await found(table, "GET", f"{mount}/users/bob"))[1] == {"user_id": "bob"}
    assert (await found(table, "GET", f"{mount}/bob"))[0] == "no path"


def test_others_can_see_its_routes() -> None:
    app = web.Application()
    app.router.register_resource(make_table())

    seen = sorted(route.method for route in app.router.routes())

    assert seen == ["GET"] * 5 + ["POST"] * 2
