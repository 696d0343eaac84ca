"""Fixtures of the tests that break the store."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support.fixtures.gated import GatedWorld, gated_world
from support.servers.real_servers import OwnServer, own_server


@pytest.fixture(params=["valkey", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the broken server."""
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[OwnServer]:
    with own_server(kind, None, "--busy-reply-threshold", "50") as server:
        yield server


@pytest.fixture
def quick_look(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the store ten times as often, so that tests end sooner, or at the interval of the test."""
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", getattr(request, "param", 0.1))


@pytest.fixture
def changes() -> dict[str, Any]:
    """Unusual settings of the engine."""
    return {}


@pytest.fixture
async def world(server: OwnServer, quick_look: None, changes: Mapping[str, Any]) -> AsyncIterator[GatedWorld]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(gated_world(server, **changes))
