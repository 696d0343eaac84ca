"""Fixtures of the storage's tests: a small world in each kind of store, and one with a settable clock."""

from collections.abc import AsyncIterator

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_setup import Setup

from technopay.storage import RedisStore


@pytest.fixture
async def setup(store: RedisStore) -> Setup:
    """A store of each kind with the user alice in it."""
    setup = Setup(store)
    await setup.user("alice")
    return setup


@pytest.fixture
async def clocked(fake_clock: FakeClock) -> AsyncIterator[Setup]:
    """A faked store with the user alice in it, on `fake_clock`."""
    async with RedisStore.fake() as store:
        setup = Setup(store)
        await setup.user("alice")
        yield setup
