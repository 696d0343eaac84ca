"""Listening: addresses that cannot be had are named, and processes that share a socket take turns."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from technopay.http.server import serving as module
from technopay.http.server.serving import CannotListen, SharedListener, format_address, listen

CLIENTS = 32


@pytest.fixture
async def shared() -> AsyncIterator[socket.socket]:
    """A listening socket, as whoever looks after workers holds it."""
    (listening,) = await listen("127.0.0.1", 0)
    with listening:
        yield listening


async def connect(listening: socket.socket) -> bytes:
    """Connect; answer what is said then, and leave."""
    reader, writer = await asyncio.open_connection(*listening.getsockname())
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


async def test_a_burst_is_shared_out(shared: socket.socket) -> None:
    listeners = [SharedListener(shared.dup(), saying(word)) for word in (b"a", b"b")]

    taken = Counter(await asyncio.gather(*(connect(shared) for _ in range(CLIENTS))))

    for listener in listeners:
        listener.close()
    # A stall of this process makes one of them take what both have missed.
    assert min(taken.values()) >= CLIENTS // 8, taken
    assert len(taken) == 2


async def test_who_took_one_leaves_the_next_to_others(
    shared: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_S", 1_000.0)
    listeners = [SharedListener(shared.dup(), saying(word)) for word in (b"a", b"b")]

    taken = [await connect(shared), await connect(shared)]

    for listener in listeners:
        listener.close()
    assert sorted(taken) == [b"a\n", b"b\n"]


async def test_what_one_does_not_take_is_the_others(shared: socket.socket) -> None:
    gone, left = (SharedListener(shared.dup(), saying(word)) for word in (b"a", b"b"))
    gone.close()

    taken = await asyncio.gather(*(connect(shared) for _ in range(CLIENTS)))

    left.close()
    assert set(taken) == {b"b\n"}


async def test_who_comes_while_nobody_takes_anything_waits_in_line(shared: socket.socket) -> None:
    waiting = asyncio.create_task(connect(shared))
    await asyncio.sleep(0)

    listener = SharedListener(shared.dup(), saying(b"a"))

    assert await waiting == b"a\n"
    listener.close()


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


async def test_an_address_in_use_is_named() -> None:
    (taken,) = await listen("127.0.0.1", 0)
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as refused:
            await listen("127.0.0.1", port)
    assert str(refused.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"
    assert isinstance(refused.value, OSError)


async def test_an_address_that_is_none_of_ours_is_named() -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(CannotListen, match=f"cannot listen on {host}:1: [a-z]"):
            await listen(host, 1)


async def test_the_other_kind_of_addresses_is_listened_at_and_written_as_in_urls() -> None:
    if not socket.has_ipv6:
        return
    try:
        (listening,) = await listen("::1", 0)
    except CannotListen as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    server = SharedListener(listening, saying(b"six"))
    address = listening.getsockname()[:2]
    reader, writer = await asyncio.open_connection(*address)
    assert await reader.readline() == b"six\n"
    writer.close()
    server.close()
    assert format_address(*address) == f"[::1]:{address[1]}"
