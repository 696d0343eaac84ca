"""A store of several partitions: users are spread, lists are merged, and all partitions are of one store."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.fixtures.engine_setup import lax_settings, wait_for
from support.fixtures.partitioned import USERS
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import Setup, client_of, operation
from support.servers.raw_client import raw_client

from technopay.engine import Engine, ValidationFailed
from technopay.engine.commands import Command, CreateWallet
from technopay.engine.errors import StoreUnavailable, StoreUnfit
from technopay.engine.reads import ReadWallet, SearchPayments
from technopay.storage import RedisStore
from technopay.storage.commands import AcceptLoss, RecordLoss
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import INITIALISING, SCHEMA, losses_of, require_one_store


async def test_users_are_spread_and_their_records_are_with_them(setup: Setup) -> None:
    assert {setup.store.partition_of(user) for user in USERS} == {0, 1, 2, 3}
    for user in USERS:
        wallet = await setup.wallet(user)
        assert int(wallet[4:6], 16) == setup.store.partition_of(user)
        assert (await setup.run(ReadWallet(wallet, user))).code == "ok"
        assert (await setup.run(ReadWallet(wallet))).code == "ok"
        others = [other for other in USERS if other != user]
        assert {(await setup.run(ReadWallet(wallet, other))).code for other in others} == {"wallet_not_found"}


async def test_an_id_of_a_partition_that_the_store_has_not_is_of_no_record(setup: Setup) -> None:
    assert (await setup.run(ReadWallet("wal_ff000001"))).code == "wallet_not_found"


async def started_in_turn(setup: Setup, count: int) -> list[str]:
    """Start payments of all users in turn; return their ids, newest first."""
    found = []
    for number in range(count):
        user = USERS[number % 4]
        found.append(await setup.started(await setup.wallet(user), await setup.invoice(user), user))
        await asyncio.sleep(0.002)  # places of one millisecond are in the order of partitions
    return found[::-1]


@pytest.mark.parametrize("limit", [1, 3, 7, 20])
async def test_the_payments_of_all_partitions_are_one_list_newest_first(setup: Setup, limit: int) -> None:
    expected = await started_in_turn(setup, 14)
    found, cursor = [], ""
    while True:
        page = await setup.done(SearchPayments(None, None, None, cursor, limit))
        assert len(page.data) <= limit
        found += [payment.id for payment in page.data]
        if not page.has_more:
            break
        cursor = page.next_cursor or ""
    assert found == expected
    own = await setup.done(SearchPayments(None, "bob", None, "", 100))
    assert [each.user_id for each in own.data] == ["bob"] * len(own.data)


async def test_payments_set_aside_are_one_list(setup: Setup) -> None:
    ids = []
    for user in USERS:
        payment, claim = await setup.processing(await setup.wallet(user), user_id=user)
        await set_aside(setup.store, payment, claim, 60_000)
        ids.append(payment)
    found, cursor = [], ""
    for _ in USERS:
        page = await setup.done(SearchPayments(None, None, True, cursor, 1))
        found += [each.id for each in page.data]
        cursor = page.next_cursor or ""
    assert sorted(found) == sorted(ids)
    assert found == sorted(ids, key=lambda each: each[6:], reverse=True)


async def test_messages_of_all_partitions_are_one_list(setup: Setup) -> None:
    async with Engine(setup.store, lax_settings()) as engine:
        expected = await started_in_turn(setup, 6)

        async def are_sent() -> bool:
            return len((await engine.list_messages(limit=10)).data) == len(expected)

        await wait_for(are_sent)
        first = await engine.list_messages(limit=4)
        last = await engine.list_messages(limit=4, cursor=first.next_cursor or "")
        messages = [*first.data, *last.data]
        assert [each.kind for each in messages] == ["confirmation.code"] * 6
        assert [each.user_id for each in messages] == [USERS[number % 4] for number in range(6)][::-1]
        assert [int(each.id[4:6], 16) for each in messages] == [
            setup.store.partition_of(each.user_id) for each in messages
        ]
        assert (first.has_more, last.has_more) == (True, False)


async def test_an_initialisation_that_was_broken_off_goes_on(make_store: Callable[[], RedisStore]) -> None:
    store = make_store()
    if store.url is None:
        pytest.skip("a fake has no second connection")
    meta: dict[Any, Any] = {
        "incarnation": "0123456789abcdef", "schema": INITIALISING, "partitions": "4", "timezone": "UTC",
    }  # fmt: skip
    async with raw_client(store.url) as client:
        await client.hset(store._keys.key("meta"), mapping=meta | {"created_at": "1"})
    with pytest.raises(StoreUnfit, match="not initialised to the end"):
        await RedisStore.connect(store.url, namespace=store._keys.namespace).open()
    async with store:
        found = await store.read_meta()
        assert (found["schema"], found["partitions"], found["incarnation"]) == (SCHEMA, "4", "0123456789abcdef")


@pytest.mark.corrupts
async def test_a_store_whose_first_partition_was_lost_is_not_initialised_anew(
    setup: Setup, make_store: Callable[[], RedisStore]
) -> None:
    if setup.store.url is None:
        pytest.skip("a fake has no second connection")
    client, first = client_of(setup.store), Keys(setup.store._keys.namespace)
    async for key in client.scan_iter(match=f"{{{first.tag}}}:*"):
        await client.delete(key)
    with pytest.raises(StoreUnfit, match="the first partition has no meta record and others"):
        await make_store().open()
    assert not await client.exists(first.key("meta"))


@pytest.mark.corrupts
async def test_a_partition_of_another_store_is_refused_by_its_script_and_at_the_start(
    setup: Setup, make_store: Callable[[], RedisStore]
) -> None:
    wallet = await setup.wallet("alice")
    keys = setup.store._partitions[setup.store.partition_of("alice")].keys
    await client_of(setup.store).hset(keys.key("meta"), "incarnation", "another")
    for command in (ReadWallet(wallet), CreateWallet(operation(), "wal_01new", "alice", "EUR")):
        with pytest.raises(StoreUnavailable, match="replaced by another one"):
            await setup.run(command)
    await client_of(setup.store).delete(keys.key("meta"))
    with pytest.raises(StoreUnavailable, match="replaced by another one"):
        await setup.run(ReadWallet(wallet))
    if setup.store.url is not None:
        with pytest.raises(StoreUnfit):
            await make_store().open()


async def test_a_loss_in_one_partition_is_accepted_for_all(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = setup.store
    incarnation = (await store.read_meta())["incarnation"]
    assert not await store.accept_loss(incarnation)
    assert (await store._partitions[3].run(RecordLoss(incarnation, "99999999999999-1"))).code == "ok"
    first, run = store._partitions[0], store._partitions[0].run

    async def fail(command: Command[Any], *_: object) -> Any:
        if isinstance(command, AcceptLoss):
            raise StoreUnavailable
        return await run(command)

    monkeypatch.setattr(first, "run", fail)
    with pytest.raises(StoreUnavailable):
        await store.accept_loss(incarnation)
    monkeypatch.setattr(first, "run", run)
    assert losses_of(await store.read_meta()), "a call that was broken off leaves the store closed"

    assert await store.accept_loss(incarnation)
    metas = [await client_of(store).hgetall(each.keys.key("meta")) for each in store._partitions]
    assert len({meta["incarnation"] for meta in metas} - {incarnation}) == 1
    assert not [name for meta in metas for name in meta if name.startswith("lost:")]
    for each in store._partitions:
        each.guard(metas[0]["incarnation"])


async def test_an_operator_reads_on_from_page_to_page_through_the_engine(setup: Setup) -> None:
    async with Engine(setup.store, lax_settings()) as engine:
        expected = await started_in_turn(setup, 9)
        found, cursor = [], ""
        while True:
            page = await engine.search_payments(limit=2, cursor=cursor)
            found += [payment.id for payment in page.data]
            if not page.has_more:
                break
            cursor = page.next_cursor or ""
        assert found == expected
        for odd in ("7-1.zz", "7-1.", "7.02", "pay_02"):
            with pytest.raises(ValidationFailed):
                await engine.search_payments(cursor=odd)
        assert (await engine.search_payments(set_aside=True, cursor="pay_zz1")).data == []


def test_partitions_of_two_stores_are_no_store() -> None:
    meta = {"schema": SCHEMA, "timezone": "UTC", "partitions": "2", "incarnation": "one"}
    with pytest.raises(StoreUnfit, match="partition 01 of the store is of another one"):
        require_one_store([meta, {**meta, "incarnation": "two"}], "UTC")
