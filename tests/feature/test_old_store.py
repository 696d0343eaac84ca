"""A store of the schema before is opened: migrated once, audited, and everything in it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.old_store import OldStore
from support.fixtures.store_setup import client_of, dump, dump_keys

from technopay.engine import (
    ConfirmationExpired,
    Difference,
    Engine,
    InvoiceExpired,
    ReferenceUsed,
    StoreUnfit,
)
from technopay.engine.commands import Command
from technopay.storage import RedisStore, migration
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
NEW_NAMES = {
    "8:bookshopBestellung \u00c4-7": "keyed",
    "5:Caf\u00e9\u00d6-1": "payee",
    "8:bookshopPaid-\u00e9": "succeeded",
}


def keys_of(store: RedisStore) -> Keys:
    return store._keys


def create(engine: Engine, invoice: dict[str, Any], **changes: Any) -> Any:
    arguments = {name: value for name, value in invoice.items() if name not in ("id", "idempotency_key")}
    arguments["expires_at"] = datetime.fromisoformat(arguments["expires_at"])
    return engine.create_invoice(**(arguments | changes))


async def test_references_are_keyed_by_their_normal_form_and_those_that_collide_are_said_and_kept(
    old_store: OldStore, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = old_store.invoice("first of two")["id"], old_store.invoice("second of two")["id"]
    async with old_store.make() as store:
        assert (await store.read_meta())["schema"] == SCHEMA
        references = (await dump(store))["references"]
        for name, invoice in NEW_NAMES.items():
            assert references[name] == old_store.invoice(invoice)["id"]
        assert len(references) == 9
        assert references["7:floristGr\u00f6\u00dfe-\u00e9"] == first
        assert references["7:floristGro\u0308\u00dfe-e\u0301"] == second
        [collision, difference] = [
            each.getMessage() for each in caplog.records if each.name == migration.__name__
        ]
        assert first in collision
        assert second in collision
        assert f"(one_payment_per_invoice): reference, unique in normal form of {second}" in difference
        audit = await store.audit()
        assert [(each.invariant, each.subject) for each in audit.differences] == [
            ("one_payment_per_invoice", second)
        ], audit.differences
        async with old_store.engine(store) as engine:
            shown = await engine.find_invoice(invoice_id=old_store.invoice("payee")["id"])
            assert (shown.merchant, shown.reference) == ("Cafe\u0301", "\u00d6-1"), (
                "codes are bound to the payee"
            )
            with pytest.raises(ReferenceUsed) as used:
                await create(engine, old_store.invoice("keyed"), reference="Bestellung \u00c4-7")
            assert used.value.invoice_id == old_store.invoice("keyed")["id"]
            await engine.void_invoice(invoice_id=second)
        assert (await store.audit()).clean
    before = await dump_keys(old_store.client, keys_of(store))
    caplog.clear()
    async with old_store.make():
        assert await dump_keys(old_store.client, keys_of(store)) == before, "it is migrated once"
        assert not [each for each in caplog.records if each.name == migration.__name__]


async def test_an_invoice_that_cannot_be_read_does_not_keep_the_others_from_being_keyed(
    old_store: OldStore,
) -> None:
    key = keys_of(old_store.make()).key("invoice", old_store.invoice("keyed")["id"])
    await old_store.client.delete(key)
    await old_store.client.set(key, "rubbish")
    async with old_store.make() as store:
        references = (await client_of(store).hgetall(keys_of(store).key("references"))).values()
        assert len(references) == 9
        assert "5:Caf\u00e9\u00d6-1" in await client_of(store).hkeys(keys_of(store).key("references"))
        assert any(each.invariant == "every_record_can_be_read" for each in await differences(store))


async def differences(store: RedisStore) -> list[Difference]:
    return (await store.audit()).differences


async def messages(store: RedisStore) -> dict[str, dict[str, str]]:
    """Read the records of messages by their status: lists leave out what is older than 72 hours."""
    found = await dump(store)
    return {found[key]["status"]: found[key] | {"id": key} for key in found if key.startswith("message:")}


async def test_messages_that_were_dead_or_waited_are_tried_again(old_store: OldStore) -> None:
    async with old_store.make() as store:
        before = await messages(store)
        dead = before["dead"]["id"].replace("message:", "msg_00")
        assert before["waiting"]["attempts"] == "1"
        async with old_store.engine(store) as engine:
            assert (await engine.send_message_again(message_id=dead)).status == "waiting"

            async def are_dead() -> bool:
                return "waiting" not in await messages(store)

            await wait_for(are_dead)
        assert (await messages(store))["dead"]["attempts"] == "6"


async def test_what_was_under_way_goes_on(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        for name in ("live", "live with a wrong code", "live and resent", "live at another payee"):
            payment = old_store.payment(name)
            ended = await engine.confirm_payment(
                user_id=payment["user_id"], payment_id=payment["id"], code=payment["code"], wait_s=10
            )
            assert ended.status == "succeeded", name
        expiring = old_store.payment("expiring")
        with pytest.raises(ConfirmationExpired):
            await engine.confirm_payment(user_id="alice", payment_id=expiring["id"], code=expiring["code"])

        stuck = old_store.payment("set aside")["id"]
        [set_aside] = (await engine.search_payments(set_aside=True)).data
        assert set_aside.id == stuck
        resolved = await engine.resolve_payment(
            payment_id=stuck, outcome="refund", note="they said no", by="root"
        )
        assert resolved.status == "failed"

        assert len(await differences(store)) == 1


async def test_what_was_answered_before_is_answered_again(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        before = (await store.audit()).checked
        paid = old_store.payment("succeeded")
        again = await engine.confirm_payment(user_id="alice", payment_id=paid["id"], code=paid["code"])
        assert (again.replayed, again.status) == (True, "succeeded")

        invoice = await create(engine, old_store.invoice("keyed"), idempotency_key="invoice-1")
        assert (invoice.replayed, invoice.id) == (True, old_store.invoice("keyed")["id"])

        wallet_id = old_store.facts["wallets"]["bob EUR"]
        assert (await engine.deposit(wallet_id=wallet_id, amount=111, idempotency_key="deposit-1")).replayed
        refunded = await engine.refund_payment(
            payment_id=old_store.payment("refunded")["id"], idempotency_key="refund-1"
        )
        assert (refunded.replayed, refunded.status) == (True, "refunded")
        live = old_store.payment("live")
        started = await engine.start_payment(
            user_id="alice",
            invoice_id=live["invoice_id"],
            wallet_id=live["wallet_id"],
            idempotency_key=live["key"],
        )
        assert (started.replayed, started.id) == (True, live["id"])
        checked = (await store.audit()).checked
        assert (checked.invoices, checked.payments) == (before.invoices, before.payments)


async def test_references_of_what_is_void_or_expired_are_free(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        for name in ("void", "expired"):
            old = old_store.invoice(name)
            taken = await create(engine, old, expires_at=datetime(2100, 1, 1, tzinfo=UTC))
            assert taken.reference == old["reference"]
            assert (await engine.find_invoice(invoice_id=old["id"])).status == name
        with pytest.raises(InvoiceExpired):
            await engine.start_payment(
                user_id="alice",
                invoice_id=old_store.invoice("expired")["id"],
                wallet_id=old_store.facts["wallets"]["alice EUR"],
            )


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


async def test_two_that_open_it_at_once_do_no_harm(old_store: OldStore) -> None:
    async def open_it() -> Mapping[str, str]:
        async with old_store.make() as store:
            return await store.read_meta()

    metas = await asyncio.gather(*(open_it() for _ in range(4)))
    assert [meta["schema"] for meta in metas] == [SCHEMA] * 4
    async with old_store.make() as store:
        assert len((await dump(store))["references"]) == 9
        assert len(await differences(store)) == 1


async def test_a_store_of_another_zone_is_left_as_it_is(old_store: OldStore) -> None:
    await old_store.client.hset(keys_of(old_store.make()).key("meta"), "timezone", "Europe/Berlin")
    with pytest.raises(StoreUnfit, match="has timezone Europe/Berlin"):
        await old_store.make().open()
    meta = await old_store.client.hgetall(keys_of(old_store.make()).key("meta"))
    assert meta["schema"] == "4"


async def test_a_demo_refuses_it_before_it_is_migrated(old_store: OldStore) -> None:
    store = old_store.make()
    store.is_for_demo = True
    before = await dump_keys(old_store.client, keys_of(store))

    with pytest.raises(StoreUnfit, match="was not made by --demo"):
        await store.open()

    assert await dump_keys(old_store.client, keys_of(store)) == before
