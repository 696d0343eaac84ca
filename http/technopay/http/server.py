"""Serves an application with the bounds that aiohttp does not set by itself."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from technopay.http.app import ADMISSION
from technopay.http.bounds import Bounds
from technopay.http.connection import Connections
from technopay.http.listening import Closable, ProtocolFactory, accept_alone, accept_in_turn, listen

DRAIN_S = 10.0

Accept = Callable[[Sequence[socket.socket], ProtocolFactory], Awaitable[list[Closable]]]


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, bounds: Bounds | None = None, drain_s: float = DRAIN_S
) -> AsyncIterator[tuple[str, int]]:
    """Serve until the block is left, then let what runs finish. Gives the address (port 0: any free one)."""
    async with _prepared(app, drain_s) as runner:
        sockets = await listen(host, port)
        async with _accepting(runner, sockets, accept_alone, bounds, drain_s) as address:
            yield address


@asynccontextmanager
async def serving_on(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    bounds: Bounds | None = None,
    drain_s: float = DRAIN_S,
) -> AsyncIterator[tuple[str, int]]:
    """Serve as `serving` does, on listening sockets that other processes accept from, too (see `listen`).

    The sockets are closed in the end; what other processes have of them stays open.
    """
    async with (
        _prepared(app, drain_s) as runner,
        _accepting(runner, sockets, accept_in_turn, bounds, drain_s) as address,
    ):
        yield address


@asynccontextmanager
async def _prepared(app: web.Application, drain_s: float) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=drain_s)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _accepting(
    runner: web.AppRunner,
    sockets: Sequence[socket.socket],
    accept: Accept,
    bounds: Bounds | None,
    drain_s: float,
) -> AsyncIterator[tuple[str, int]]:
    assert runner.server is not None
    address = sockets[0].getsockname()
    connections = Connections(runner.server, bounds or Bounds())
    listeners = await accept(sockets, connections)
    try:
        yield str(address[0]), int(address[1])
    finally:
        # It still listens, so that /readyz can say that it drains.
        await runner.app[ADMISSION].drain(drain_s)
        for listener in listeners:
            listener.close()
        connections.hang_up()
