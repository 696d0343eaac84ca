"""Fixtures of the races: four workers in processes of their own, and the race that they race in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.zones import zone_at_midday
from support.processes.process_race import WORKERS, ProcessRace
from support.processes.worker import Team, make_engine, open_store, running_team


@pytest.fixture(scope="session")
def team() -> Iterator[Team]:
    with running_team(WORKERS) as team:
        yield team


@pytest.fixture
async def race(server_url: str, namespace: str, team: Team) -> AsyncIterator[ProcessRace]:
    timezone = zone_at_midday()
    async with open_store(server_url, namespace, timezone) as store, make_engine(store) as engine:
        yield ProcessRace(server_url, namespace, timezone, engine, team)
    await assert_books_balance(server_url, namespace)
