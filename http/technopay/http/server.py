"""Serves an application with the bounds that aiohttp does not set by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from technopay.http.app import ADMISSION
from technopay.http.bounds import Bounds
from technopay.http.connection import Connections

BACKLOG = 1024


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, bounds: Bounds | None = None, drain_s: float = 10.0
) -> AsyncIterator[tuple[str, int]]:
    """Serve until the block is left, then let what runs finish. Gives the address (port 0: any free one)."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=drain_s)
    await runner.setup()
    try:
        assert runner.server is not None
        connections = Connections(runner.server, bounds or Bounds())
        listener = await asyncio.get_running_loop().create_server(connections, host, port, backlog=BACKLOG)
        try:
            address = listener.sockets[0].getsockname()
            yield str(address[0]), int(address[1])
        finally:
            # It still listens, so that /readyz can say that it drains.
            await app[ADMISSION].drain(drain_s)
            listener.close()
            connections.hang_up()
    finally:
        await runner.cleanup()
