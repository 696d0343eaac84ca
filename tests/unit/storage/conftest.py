"""Fixtures of the storage's tests: a small world in each kind of store, and one whose clock a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.clock import FakeClock
from support.scene import Scene

from technopay.storage import RedisStore


@pytest.fixture
async def scene(store: RedisStore) -> Scene:
    """A store of each kind with the user alice in it."""
    scene = Scene(store)
    await scene.user("alice")
    return scene


@pytest.fixture
async def clocked(fake_clock: FakeClock) -> AsyncIterator[Scene]:
    """A faked store with the user alice in it, whose time is `fake_clock`."""
    async with RedisStore.fake() as store:
        scene = Scene(store)
        await scene.user("alice")
        yield scene
