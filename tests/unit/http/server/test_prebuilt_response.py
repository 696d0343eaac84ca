"""A prebuilt response: equal to aiohttp's, without line ends in its headers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from support.fixtures.engine_setup import SECRET

from technopay.http.access_record import RequestRecord
from technopay.http.api.route import Call, Route
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.responses import Response
from technopay.http.server.connection import PrebuiltResponse, header_lines, http_date
from technopay.http.server.serving import serving

HEAD_END = b"\r\n\r\n"


async def made(call: Call) -> Response:
    return Response("größer".encode(), 201, {"Location": "/there"}, "text/plain; charset=utf-8")


@asynccontextmanager
async def asking(app: web.Application) -> AsyncIterator[Any]:
    """Serve an application; send it requests on one connection."""
    async with serving(app, "127.0.0.1", 0) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)

        async def ask(line: str, *headers: str) -> tuple[dict[str, str], bytes]:
            writer.write("\r\n".join((line, "Host: here", "X-Request-Id: req-1", *headers, "", "")).encode())
            head = (await reader.readuntil(HEAD_END)).decode()
            status, *lines = head.rstrip().split("\r\n")
            found = dict(each.split(": ") for each in lines)
            length = 0 if line.startswith("HEAD") else int(found["Content-Length"])
            return {"status": status, **found}, await reader.readexactly(length)

        yield ask
        writer.close()
        await writer.wait_closed()


def app_with_answer() -> web.Application:
    route = Route("GET", "/made", None, made)
    engine: Any = SimpleNamespace()
    return create_app(engine, TokenAuthenticator(SECRET), more_routes=[route])


async def test_it_equals_the_response_of_aiohttp_where_a_hook_needs_one() -> None:
    hooked, calls = app_with_answer(), []

    async def hook(request: web.Request, response: web.StreamResponse) -> None:
        calls.append(response.headers["Location"])

    hooked.on_response_prepare.append(hook)
    async with asking(app_with_answer()) as ask_whole, asking(hooked) as ask_prepared:
        whole, prepared = await ask_whole("GET /made HTTP/1.1"), await ask_prepared("GET /made HTTP/1.1")

    assert calls == ["/there"]
    for head, _ in (whole, prepared):
        assert head.pop("Date").endswith(" GMT")
    assert whole == prepared
    assert whole[0]["status"] == "HTTP/1.1 201 Created"
    assert whole[1] == "größer".encode()


async def test_one_connection_serves_many_requests_in_their_protocol_and_ends_on_request() -> None:
    async with asking(app_with_answer()) as ask:
        for _ in range(3):
            head, body = await ask("GET /made HTTP/1.1")
            assert body
            assert "Connection" not in head
        head, body = await ask("HEAD /made HTTP/1.1")
        assert (head["Content-Length"], body) == ("8", b"")
        head, body = await ask("GET /made HTTP/1.1", "Connection: close")
        assert head["Connection"] == "close"
        assert body
    async with asking(app_with_answer()) as ask:
        head, body = await ask("GET /made HTTP/1.0")
    assert head["status"] == "HTTP/1.0 201 Created"
    assert body


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b"], ids=["lines", "line feed", "return", "nought"]
)
def test_no_header_ends_before_its_line(value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        header_lines({"Location": value})
    whole = PrebuiltResponse(RequestRecord("req-1", 0.0, {}), Response(b"", headers={"Location": value}))
    with pytest.raises(ValueError, match="header"):
        whole.to_bytes("now")


def test_the_date_is_that_of_the_second() -> None:
    assert [http_date(second) for second in (0, 0, 1)] == [
        "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:01 GMT"
    ]  # fmt: skip
