"""A connection whose client does not take what is written to it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

from aiohttp import web
from support.fixtures.engine_setup import SECRET, wait_for

from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.server.connection import Connection, ConnectionFactory
from technopay.http.server.limits import ServerLimits


async def make_connection(write_deadline_s: float) -> tuple[Connection, Mock]:
    """Make a connection that is open, and what it writes to."""
    server = web.Server(cast("Any", Mock()))
    made = ConnectionFactory(server, ServerLimits(write_deadline_s=write_deadline_s))()
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


async def test_the_next_answer_waits_until_the_one_before_is_taken() -> None:
    engine: Any = SimpleNamespace()
    runner = web.AppRunner(create_app(engine, TokenAuthenticator(SECRET)), handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    made = ConnectionFactory(runner.server, ServerLimits())()
    assert isinstance(made, Connection)
    wire, written = Mock(asyncio.Transport), []

    def write(data: bytes) -> None:
        written.append(data)
        made.pause_writing()

    wire.get_extra_info.return_value = None
    wire.is_closing.return_value = False
    wire.write.side_effect = write
    made.connection_made(wire)

    async def has_written() -> int:
        return len(written)

    made.data_received(2 * b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
    await wait_for(has_written)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(written) == 1

    made.resume_writing()

    async def has_written_both() -> bool:
        return len(written) == 2

    await wait_for(has_written_both)
    made.connection_lost(None)
    await runner.cleanup()


async def test_reading_goes_on_where_it_was_paused_and_nowhere_else() -> None:
    made, wire = await make_connection(60)
    made.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nbegi")

    made.resume_reading()
    wire.resume_reading.assert_not_called()

    made.pause_reading()
    made.resume_reading()
    wire.pause_reading.assert_called_once_with()
    wire.resume_reading.assert_called_once_with()
    made.connection_lost(None)
