"""The server: its address, sockets shared by several processes, its parser, and its end."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import aiohttp
import aiohttp.http_parser
import pytest
from aiohttp import web

from technopay.http.server import serving as module
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit
from technopay.http.server.serving import (
    CONCURRENCY,
    CannotListen,
    SharedListener,
    format_address,
    listen,
    serving,
    serving_on,
)

CLIENTS = 32


@pytest.fixture
async def shared() -> AsyncIterator[socket.socket]:
    """A listening socket, as the supervisor of workers holds it."""
    (listening,) = await listen("127.0.0.1", 0)
    with listening:
        yield listening


async def connect(listening: socket.socket) -> bytes:
    """Connect; return the first line, and close."""
    reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
    try:
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def saying(word: bytes) -> type[asyncio.Protocol]:
    class Saying(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(word + b"\n")
            transport.close()

    return Saying


def make_app(text: str = "hello") -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app[CONCURRENCY] = ConcurrencyLimit(ServerLimits(requests_max=10))
    app.add_routes([web.get("/", hello)])
    return app


def test_the_parser_is_the_one_that_was_tried() -> None:
    # Two parsers of one protocol disagree somewhere; the hostile tests cover the C parser, not the Python one.
    parsers = aiohttp.http_parser
    assert parsers.HttpRequestParser is not parsers.HttpRequestParserPy


async def test_port_0_takes_any_free_port_reports_it_and_is_closed_at_the_end() -> None:
    app = make_app()
    async with serving(app, "127.0.0.1", 0) as (host, port):
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as response:
            assert (host, await response.text()) == ("127.0.0.1", "hello")
        assert port > 0

    assert app[CONCURRENCY].draining
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_servers_on_one_socket_take_turns_and_leave_it_open(
    shared: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_S", 1_000.0)
    async with (
        serving_on(make_app("a"), [shared.dup()]) as address,
        serving_on(make_app("b"), [shared.dup()]),
        aiohttp.ClientSession(f"http://127.0.0.1:{address[1]}") as one,
        aiohttp.ClientSession(f"http://127.0.0.1:{address[1]}") as two,
    ):
        assert address == shared.getsockname()
        # The server with the first connection does not accept the second, which would wait here.
        answers = {await (await session.get("/")).text() for session in (one, two)}
    assert answers == {"a", "b"}

    # A new connection waits in the backlog for the next process.
    _, writer = await asyncio.open_connection(*address)
    writer.close()


async def test_connections_wait_for_a_listener_and_all_go_to_the_only_one_left(shared: socket.socket) -> None:
    waiting = asyncio.create_task(connect(shared))
    await asyncio.sleep(0)
    gone, left = (SharedListener(shared.dup(), saying(word)) for word in (b"a", b"b"))
    gone.close()

    taken = await asyncio.gather(waiting, *(connect(shared) for _ in range(CLIENTS)))

    left.close()
    assert set(taken) == {b"b\n"}


async def test_a_late_loop_makes_up_for_the_turns_that_it_missed(shared: socket.socket) -> None:
    taken: list[asyncio.Protocol] = []

    def take() -> asyncio.Protocol:
        taken.append(asyncio.Protocol())
        return taken[-1]

    clients = [socket.create_connection(shared.getsockname()) for _ in range(CLIENTS)]
    listener = SharedListener(shared.dup(), take)

    for _ in range(6):
        time.sleep(2 * CLIENTS * module.TURN_S)  # noqa: ASYNC251 - it is late
        await asyncio.sleep(0)

    listener.close()
    for each in clients:
        each.close()
    assert len(taken) == CLIENTS


async def test_a_system_without_room_is_tried_again_later(
    shared: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(socket.socket):
        tries = 0

        def accept(self) -> tuple[socket.socket, object]:
            Full.tries += 1
            if Full.tries == 1:
                raise OSError(24, "Too many open files")
            return super().accept()

    monkeypatch.setattr(module, "EXHAUSTED_PAUSE_S", 0.01)
    listener = SharedListener(Full(fileno=shared.dup().detach()), saying(b"a"))

    assert await connect(shared) == b"a\n"
    listener.close()
    assert "cannot be accepted" in caplog.text


async def test_an_address_that_cannot_be_had_is_named(shared: socket.socket) -> None:
    port = shared.getsockname()[1]
    with pytest.raises(CannotListen) as refused:
        await listen("127.0.0.1", port)
    assert str(refused.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"
    assert isinstance(refused.value, OSError)
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(CannotListen, match=f"cannot listen on {host}:1: [a-z]"):
            await listen(host, 1)


async def test_an_ipv6_address_is_listened_on_and_written_as_in_urls() -> None:
    if not socket.has_ipv6:
        return
    try:
        (listening,) = await listen("::1", 0)
    except CannotListen as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    server = SharedListener(listening, saying(b"six"))
    address = listening.getsockname()[:2]
    assert await connect(listening) == b"six\n"
    server.close()
    assert format_address(*address) == f"[::1]:{address[1]}"
