"""Fixtures of the client's tests: a server with a script, and a clock that passes by sleeping only."""

from collections.abc import AsyncIterator

import pytest
from support.servers.scripted_server import RecordedClock, ScriptedServer, scripted_server

from technopay.http.client import Client, RetryPolicy


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as served:
        yield served


@pytest.fixture
def clock() -> RecordedClock:
    return RecordedClock()


@pytest.fixture
async def client(server: ScriptedServer, clock: RecordedClock) -> AsyncIterator[Client]:
    """A client with the longest allowed pauses."""
    policy = RetryPolicy(pick=max)
    async with Client(server.url, "token", clock=clock, retry_policy=policy) as opened:
        yield opened
