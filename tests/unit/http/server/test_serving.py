"""The server: its address, its parser, and its end."""

from __future__ import annotations

import asyncio

import aiohttp
import aiohttp.http_parser
import pytest
from aiohttp import web

from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit
from technopay.http.server.serving import CONCURRENCY, listen, serving, serving_on


def make_app() -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app[CONCURRENCY] = ConcurrencyLimit(ServerLimits(requests_max=10))
    app.add_routes([web.get("/", hello)])
    return app


async def test_port_0_takes_any_free_port_and_reports_it() -> None:
    async with (
        serving(make_app(), "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/") as response,
    ):
        assert (host, await response.text()) == ("127.0.0.1", "hello")
        assert port > 0


def test_the_parser_is_the_one_that_was_tried() -> None:
    # Two parsers of one protocol disagree somewhere; the one in Python is not what our tests attack.
    parsers = aiohttp.http_parser
    assert parsers.HttpRequestParser is not parsers.HttpRequestParserPy


async def test_the_end_of_a_server_leaves_a_shared_socket_open() -> None:
    (shared,) = await listen("127.0.0.1", 0)
    with shared:
        async with serving_on(make_app(), [shared.dup()]) as address:
            assert address == shared.getsockname()

        # A new connection waits in the backlog for the next process.
        _, writer = await asyncio.open_connection(*address)
        writer.close()


async def test_after_the_end_no_socket_listens() -> None:
    app = make_app()
    async with serving(app, "127.0.0.1", 0) as (host, port):
        pass

    assert app[CONCURRENCY].draining
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
