"""Serves an application with the bounds that aiohttp does not set by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from technopay.http.app import ADMISSION

KEEPALIVE_S = 15.0
LINE_LENGTH_MAX = 8190
BACKLOG = 1024


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, drain_s: float = 10.0
) -> AsyncIterator[tuple[str, int]]:
    """Serve until the block is left, then let what runs finish. Gives the address (port 0: any free one)."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=KEEPALIVE_S,
        max_line_size=LINE_LENGTH_MAX,
        max_field_size=LINE_LENGTH_MAX,
        shutdown_timeout=drain_s,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=BACKLOG)
        await site.start()
        address = runner.addresses[0]
        yield str(address[0]), int(address[1])
    finally:
        # It still listens, so that /readyz can say that it drains.
        await app[ADMISSION].drain(drain_s)
        await runner.cleanup()
