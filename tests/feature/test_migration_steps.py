"""The steps of a migration: stopped, repeated, overtaken, or beside unreadable records, it ends the same."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from support.fixtures.dumps import dump, dump_keys
from support.fixtures.old_store import OldStore, differences, keys_of

from technopay.engine import (
    StoreUnfit,
)
from technopay.engine.commands import Command
from technopay.storage import RedisStore, migrate_store, migration
from technopay.storage.commands import (
    AdvanceMigration,
    BeginMigration,
    MigrateLimits,
    MigratePayments,
    MigrateReferences,
)
from technopay.storage.partition import Partition
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import SCHEMA

WRITES = (BeginMigration, AdvanceMigration, MigrateReferences, MigratePayments, MigrateLimits)
SCHEMA_4 = pytest.mark.parametrize("old_schema", ["4"])


@pytest.fixture
def old_schema() -> str:
    return "5"


@SCHEMA_4
async def test_a_migration_that_is_stopped_anywhere_and_sent_twice_ends_as_one_that_was_not(
    old_store: OldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "READ_MAX", 20)
    monkeypatch.setattr(migration, "BATCH_MAX", 2)
    run, stopped, sent = Partition.run, 0, 0

    async def run_twice_and_stop(self: Partition, command: Command[Any], *lease: Any) -> Any:
        nonlocal sent
        if isinstance(command, WRITES):
            sent += 1
            await run(self, command)
            if sent == stopped:
                raise StoreUnfit("the process was killed")
        return await run(self, command, *lease)

    async def open_it() -> bool:
        nonlocal sent
        sent = 0
        async with old_store.make() as store:
            assert (await store.read_meta())["schema"] == SCHEMA
            assert len(await differences(store)) == 1
            return True

    monkeypatch.setattr(Partition, "run", run_twice_and_stop)
    while True:
        stopped += 1
        with suppress(StoreUnfit):
            await open_it()
            break
    assert stopped >= 8


async def test_what_cannot_be_read_does_not_stop_the_migration(
    old_store: OldStore, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keys_of(old_store.make())
    broken = [old_store.payment(name)["id"] for name in ("live", "succeeded", "spent")]
    await old_store.client.hset(keys.key("payment", broken[0]), "challenge", "email 1 five")
    await old_store.client.hset(keys.key("payment", broken[1]), "limit", "today")
    await old_store.client.delete(keys.key("payment", broken[2]))
    await old_store.client.set(keys.key("payment", broken[2]), "rubbish")
    await old_store.client.sadd(keys.key("limit", "SEK"), "rubbish")
    await old_store.client.sadd(keys.key("limit", "global:SEK"), "rubbish")
    for words in (
        ("payment.processing", "pay_x"),
        ("limit.set", "SEK"),
        ("payment.processing", "", "currency", ""),
    ):
        await old_store.client.execute_command("XADD", keys.journal, "*", *words)
    async with old_store.make() as store:
        assert (await store.read_meta())["schema"] == SCHEMA
        said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        for payment_id in broken:
            assert any(f"payment {payment_id} cannot be read" in line for line in said), said
        assert any("the limit of SEK cannot be read" in line for line in said)
        async with old_store.engine(store) as engine:
            payment = old_store.payment("live with wrong codes")
            paid = await engine.confirm_payment(
                user_id=payment["user_id"], payment_id=payment["id"], code=payment["code"], wait_s=10
            )
            assert paid.status == "succeeded"


@pytest.mark.parametrize("kind", ["limits", "references"])
async def test_an_index_that_cannot_be_read_does_not_stop_the_migration(
    old_store: OldStore, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keys_of(old_store.make())
    await old_store.client.delete(keys.key(kind))
    await old_store.client.set(keys.key(kind), "rubbish")
    invoice = keys.key("invoice", old_store.invoice("keyed")["id"])
    await old_store.client.hset(invoice, "reference", "A\u0308-7")
    async with old_store.make() as store:
        assert (await store.read_meta())["schema"] == SCHEMA
    line = "the set of limits cannot be read" if kind == "limits" else "its reference is left as it is"
    assert line in caplog.text


@pytest.mark.parametrize("late", [BeginMigration, MigratePayments])
async def test_a_migration_that_another_one_overtakes_changes_nothing(
    old_store: OldStore, monkeypatch: pytest.MonkeyPatch, late: type[Command[Any]]
) -> None:
    run, ended, meta = Partition.run, list[str](), keys_of(old_store.make()).key("meta")

    async def be_overtaken(self: Partition, command: Command[Any], *lease: Any) -> Any:
        if isinstance(command, late) and not ended:
            ended.append("begun")
            async with old_store.make() as winner:
                ended[:] = [SCHEMA, (await winner.read_meta())["incarnation"]]
        outcome = await run(self, command, *lease)
        if len(ended) == 2:
            assert await old_store.client.hmget(meta, "schema", "incarnation") == ended, command
        return outcome

    monkeypatch.setattr(Partition, "run", be_overtaken)
    async with old_store.make() as store:
        assert (await store.audit()).clean
    assert len(ended) == 2


async def test_a_store_that_is_replaced_while_it_is_migrated_is_left_alone(
    old_store: OldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = keys_of(old_store.make()).key("meta")

    async def replace(*_: object) -> None:
        await old_store.client.hset(meta, mapping={"schema": "5", "incarnation": "restored"})

    monkeypatch.setattr(migration, "STEPS", {**migration.STEPS, "2": replace})
    with pytest.raises(StoreUnfit, match="replaced while it was migrated"):
        await old_store.make().open()
    assert (await old_store.client.hgetall(meta))["schema"] == "5"


@SCHEMA_4
async def test_two_that_open_it_at_once_do_no_harm(old_store: OldStore) -> None:
    async def open_it() -> Mapping[str, str]:
        async with old_store.make() as store:
            return await store.read_meta()

    metas = await asyncio.gather(*(open_it() for _ in range(4)))
    assert [meta["schema"] for meta in metas] == [SCHEMA] * 4
    async with old_store.make() as store:
        assert len((await dump(store))["references"]) == 9
        assert len(await differences(store)) == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"timezone": "Europe/Berlin"}, "has timezone Europe/Berlin"),
        ({"schema": "migrating:4", "migration_position": "0-0"}, "a later version migrates the store"),
        ({}, "was not made by --demo"),
    ],
    ids=["another zone", "a later version", "a demo"],
)
async def test_a_store_that_is_not_ours_to_migrate_is_refused_as_it_is(
    old_store: OldStore, changes: dict[str, str], line: str
) -> None:
    store = old_store.make()
    store.is_for_demo = not changes
    if changes:
        await old_store.client.hset(keys_of(store).key("meta"), mapping=changes)
    before = await dump_keys(old_store.client, keys_of(store))

    with pytest.raises(StoreUnfit, match=line):
        await store.open()

    assert await dump_keys(old_store.client, keys_of(store)) == before


@pytest.mark.parametrize("old_store", ["valkey", "redis"], indirect=True)
async def test_only_technopay_migrate_migrates_a_server(
    old_store: OldStore, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = old_store.make().url
    assert url
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", 0.01)
    meta = Keys(namespace).key("meta")
    for schema, line in (
        ("5", "the store has schema 5, this program 7: run `technopay migrate`"),
        ("migrating:1", "the store is being migrated; if no `technopay migrate` runs, run it"),
    ):
        await old_store.client.hset(meta, "schema", schema)
        for initialise in (True, False):
            store = RedisStore.connect(url, namespace=namespace, initialise=initialise)
            with pytest.raises(StoreUnfit, match=line):
                await store.open()
    assert await migrate_store(url, namespace=namespace, reply_timeout_s=0.5)
    assert not await migrate_store(url, namespace=namespace, reply_timeout_s=0.5)
    async with RedisStore.connect(url, namespace=namespace) as store, Redis.from_url(url) as client:
        assert (await store.audit()).clean
        await client.hdel(meta, "schema")
    with pytest.raises(StoreUnfit, match="the store has schema None, this program 7"):
        await migrate_store(url, namespace=namespace)
