"""Fixtures of the races: engines in four processes, shared by all races, and the race itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from support.fixtures import placed_keys
from support.fixtures.audit import assert_books_balance
from support.fixtures.fixed_code import make_engine, open_store
from support.fixtures.store_setup import Setup
from support.fixtures.zones import zone_at_midday
from support.processes.engine_process import FarEngine, Role, running_far_engine
from support.processes.process_race import PATIENT, PROCESSES, ProcessRace


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def far() -> AsyncIterator[Sequence[FarEngine]]:
    """Start processes without engines: their start takes longer than a race."""
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(running_far_engine()) for _ in range(PROCESSES))
        yield await asyncio.gather(*starting)


@pytest.fixture
def race_settings() -> Mapping[str, Any]:
    """Unusual settings of all engines."""
    return {}


@pytest.fixture(
    params=[("valkey", 1), ("redis", 1), ("valkey", 4), ("cluster", 4)],
    ids=["valkey", "redis", "partitioned", "cluster"],
)
def place(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The URL of a real server, and the partitions of the store."""
    kind, partitions = request.param
    return request.getfixturevalue(f"{kind}_url"), partitions


@pytest_asyncio.fixture(loop_scope="session")
async def race(
    place: tuple[str, int],
    namespace: str,
    far: Sequence[FarEngine],
    race_settings: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[ProcessRace]:
    server_url, partitions = place
    monkeypatch.setattr(placed_keys, "PARTITIONS", partitions)
    role = Role(server_url, namespace, zone_at_midday(), {**PATIENT, **race_settings})
    async with (
        open_store(server_url, namespace, role.timezone, partitions) as store,
        make_engine(store, **race_settings) as engine,
    ):
        race = ProcessRace(role, far, engine, Setup(store))
        await race.begin()
        yield race
        await asyncio.gather(*(each.begin(None) for each in far))
    await assert_books_balance(server_url, namespace, *race.archives)
