"""Stores of four partitions, with a user in each."""

from collections.abc import AsyncIterator, Callable

import pytest
from support.fixtures import placed_keys
from support.fixtures.audit import assert_clean
from support.fixtures.partitioned import USERS
from support.fixtures.store_setup import Setup

from technopay.storage import RedisStore


@pytest.fixture(
    params=["fake", "valkey_url", "redis_url", "cluster_url"], ids=["fake", "valkey", "redis", "cluster"]
)
def make_store(
    request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], RedisStore]:
    """Make unopened stores of four partitions; on a server they are the same store."""
    monkeypatch.setattr(placed_keys, "PARTITIONS", 4)
    if request.param == "fake":
        return lambda: RedisStore.fake(namespace=namespace, partitions=4)
    url = request.getfixturevalue(request.param)
    return lambda: RedisStore.connect(url, initialise=True, namespace=namespace, partitions=4)


@pytest.fixture
async def store(make_store: Callable[[], RedisStore], *, is_corrupted: bool) -> AsyncIterator[RedisStore]:
    async with make_store() as opened:
        yield opened
        if not is_corrupted:
            await assert_clean(opened)


@pytest.fixture
async def setup(store: RedisStore) -> Setup:
    setup = Setup(store)
    for user in USERS:
        await setup.user(user)
    return setup
