"""A connection whose client does not take what is written to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import Mock

from aiohttp import web

from technopay.http.bounds import Bounds
from technopay.http.connection import Connection, Connections


async def make_connection(write_deadline_s: float) -> tuple[Connection, Mock]:
    """Make a connection that is open, and what it writes to."""
    server = web.Server(cast("Any", Mock()))
    made = Connections(server, Bounds(write_deadline_s=write_deadline_s))()
    assert isinstance(made, Connection)
    wire = Mock(asyncio.Transport)
    wire.get_extra_info.return_value = None
    made.connection_made(wire)
    return made, wire


async def test_whatever_is_not_taken_at_once_is_not_taken_however_little_it_is() -> None:
    made, wire = await make_connection(60)

    wire.set_write_buffer_limits.assert_called_once_with(high=0)
    made.connection_lost(None)


async def test_a_client_who_takes_nothing_in_time_is_cut_off_and_one_who_does_is_not() -> None:
    made, wire = await make_connection(0)
    cut_off = asyncio.Event()
    wire.abort.side_effect = cut_off.set

    made.pause_writing()
    made.resume_writing()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not cut_off.is_set()

    made.pause_writing()
    async with asyncio.timeout(5):
        await cut_off.wait()
    made.connection_lost(None)
