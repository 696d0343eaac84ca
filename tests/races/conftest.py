"""Fixtures of the races: four workers in processes of their own, and the arena that they race in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.arena import WORKERS, Arena
from support.audit import assert_books_balance
from support.worker import Team, make_engine, open_store, running_team
from support.zones import zone_at_midday


@pytest.fixture(scope="session")
def team() -> Iterator[Team]:
    with running_team(WORKERS) as team:
        yield team


@pytest.fixture
async def arena(server_url: str, namespace: str, team: Team) -> AsyncIterator[Arena]:
    timezone = zone_at_midday()
    async with open_store(server_url, namespace, timezone) as store, make_engine(store) as engine:
        yield Arena(server_url, namespace, timezone, engine, team)
    await assert_books_balance(server_url, namespace)
