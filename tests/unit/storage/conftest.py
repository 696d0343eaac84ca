"""Fixtures of the storage's tests: a small world in each kind of store, one with a settable clock, archives."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_setup import Setup
from support.fixtures.trimming import Trimming, new_trimming

from technopay.storage import Archive, RedisStore


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


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with Archive.at(str(tmp_path / "archive.sqlite3")) as archive:
        yield archive


@pytest.fixture
async def trimming(
    setup: Setup, archive: Archive, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Trimming]:
    """A store of each kind and its archive; the books are audited at the end, across the cut."""
    trimming = await new_trimming(setup, archive, monkeypatch)
    yield trimming
    if request.node.get_closest_marker("corrupts") is None:
        for full in (False, True):
            audit = await setup.store.audit(full=full)
            assert audit.clean, "\n".join(map(str, audit.differences))
