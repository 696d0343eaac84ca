"""The server: bounds, addresses, and an end that waits for what runs, but not for ever."""

from __future__ import annotations

import asyncio

import aiohttp
import aiohttp.http_parser
import pytest
from aiohttp import web

from technopay.http.server import serving as module
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit
from technopay.http.server.serving import CONCURRENCY, listen, serving, serving_on

ANSWERED = web.AppKey("answered", list[str])


def make_app() -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        request.app[ANSWERED].append("hello")
        return web.Response(text="hello")

    app = web.Application()
    app[ANSWERED] = []
    app[CONCURRENCY] = ConcurrencyLimit(ServerLimits(requests_max=10))
    app.add_routes([web.get("/", hello)])
    return app


async def test_port_0_takes_any_free_port_and_tells_it() -> None:
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


async def test_servers_on_one_socket_take_turns_and_leave_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 1_000.0)
    (shared,) = await listen("127.0.0.1", 0)
    apps = [make_app(), make_app()]
    with shared:
        async with (
            serving_on(apps[0], [shared.dup()]) as address,
            serving_on(apps[1], [shared.dup()]) as same_address,
            aiohttp.ClientSession() as one,
            aiohttp.ClientSession() as two,
        ):
            assert address == same_address == shared.getsockname()
            for session in (one, two):
                # The app with the first connection does not accept the second, which would wait here.
                async with session.get(f"http://127.0.0.1:{address[1]}/") as response:
                    assert await response.text() == "hello"
            assert [app[ANSWERED] for app in apps] == [["hello"], ["hello"]]

        # A new connection waits in the backlog for the next process.
        _, writer = await asyncio.open_connection(*address)
        writer.close()


async def test_after_the_end_nobody_listens() -> None:
    app = make_app()
    async with serving(app, "127.0.0.1", 0) as (host, port):
        pass

    assert app[CONCURRENCY].draining
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    async with serving(make_app(), "127.0.0.1", 0) as (host, port):
        with pytest.raises(OSError, match="address already in use"):
            async with serving(make_app(), host, port):
                pass
