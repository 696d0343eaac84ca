"""A store of schema 6 gets the schema of now in all of its partitions, also if that is broken off."""

from contextlib import suppress
from typing import Any

import pytest
from support.fixtures.store_setup import Setup

from technopay.engine import StoreUnavailable, StoreUnfit
from technopay.storage import RedisStore
from technopay.storage.commands import AdvanceMigration, BeginMigration, ReadMeta
from technopay.storage.partition import Partition
from technopay.storage.schema import RAISED, SCHEMA

Metas = list[dict[str, str]]


async def metas(store: RedisStore) -> Metas:
    return [dict(outcome.value or {}) for outcome in await store._partitions.run_each(ReadMeta())]


async def make_older(store: RedisStore) -> None:
    for each in store._partitions:
        await each.fetch("HSET", each.keys.key("meta"), "schema", RAISED)


async def reopen(store: RedisStore, *, migrates: bool = True) -> None:
    await store.aclose()
    store.migrates, store._migration_wait_s = migrates, 0.0
    await store.open()


@pytest.mark.parametrize("make_store", ["valkey", "partitioned"], indirect=True)
async def test_every_partition_is_raised_with_another_incarnation(
    setup: Setup,
) -> None:
    store, wallet = setup.store, await setup.wallet()
    before = await metas(store)
    await make_older(store)

    await reopen(store)

    after = await metas(store)
    assert {meta["schema"] for meta in after} == {SCHEMA}
    assert len({meta["incarnation"] for meta in after}) == 1
    assert after[0]["incarnation"] != before[0]["incarnation"]
    assert not any("migrated_from" in meta for meta in after)
    assert store.was_migrated
    assert await setup.money(wallet) == (10_000, 0)


@pytest.mark.parametrize("make_store", ["valkey"], indirect=True)
async def test_a_store_of_schema_6_is_refused_without_a_migration(store: RedisStore) -> None:
    await make_older(store)
    with pytest.raises(StoreUnfit, match="run `technopay migrate`"):
        await reopen(store, migrates=False)
    await reopen(store)


@pytest.mark.parametrize("make_store", ["partitioned"], indirect=True)
async def test_a_raise_that_is_broken_off_anywhere_goes_on(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, left = Partition.run, 0

    async def run_some(self: Partition, command: Any, *more: Any) -> Any:
        nonlocal left
        if isinstance(command, BeginMigration | AdvanceMigration):
            if left == 0:
                raise StoreUnavailable
            left -= 1
        return await run(self, command, *more)

    monkeypatch.setattr(Partition, "run", run_some)
    steps = 2 * len(store._partitions)
    for done in range(steps):
        await make_older(store)
        left = done
        with suppress(StoreUnavailable):
            await reopen(store)
        left = steps
        await reopen(store)
        after = await metas(store)
        assert {meta["schema"] for meta in after} == {SCHEMA}, f"broken off after {done}"
        assert len({meta["incarnation"] for meta in after}) == 1
