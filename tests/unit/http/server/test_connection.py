"""A connection whose client does not read the responses."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

from aiohttp import web
from support.fixtures.engine_setup import SECRET, wait_for

from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.server.connection import Connection, ConnectionFactory
from technopay.http.server.limits import ServerLimits


async def make_connection(write_deadline_s: float, server: Any = None) -> tuple[Connection, Mock]:
    """Make an open connection and its transport."""
    server = server or web.Server(cast("Any", Mock()))
    made = ConnectionFactory(server, ServerLimits(write_deadline_s=write_deadline_s))()
    assert isinstance(made, Connection)
    wire = Mock(asyncio.Transport)
    wire.get_extra_info.return_value = None
    made.connection_made(wire)
    return made, wire


async def test_a_client_that_reads_no_response_in_time_is_cut_off_and_one_that_does_is_not() -> None:
    made, wire = await make_connection(0)
    cut_off = asyncio.Event()
    wire.abort.side_effect = cut_off.set
    wire.set_write_buffer_limits.assert_called_once_with(high=0)

    made.pause_writing()
    made.resume_writing()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not cut_off.is_set()

    made.pause_writing()
    async with asyncio.timeout(5):
        await cut_off.wait()
    made.connection_lost(None)


async def test_a_response_waits_until_the_one_before_is_read() -> None:
    engine: Any = SimpleNamespace()
    runner = web.AppRunner(create_app(engine, TokenAuthenticator(SECRET)), handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    made, wire = await make_connection(60, runner.server)
    written: list[bytes] = []

    def write(data: bytes) -> None:
        written.append(data)
        made.pause_writing()

    async def has_written(count: int) -> bool:
        return len(written) == count

    wire.is_closing.return_value = False
    wire.write.side_effect = write
    made.data_received(2 * b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
    await wait_for(partial(has_written, 1))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(written) == 1

    made.resume_writing()
    await wait_for(partial(has_written, 2))
    made.connection_lost(None)
    await runner.cleanup()


async def test_reading_resumes_only_if_it_was_paused() -> None:
    made, wire = await make_connection(60)
    made.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nbegi")

    made.resume_reading()
    wire.resume_reading.assert_not_called()

    made.pause_reading()
    made.resume_reading()
    wire.pause_reading.assert_called_once_with()
    wire.resume_reading.assert_called_once_with()
    made.connection_lost(None)
