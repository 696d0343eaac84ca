"""A store of schema 5 is migrated: everything in it can be read and goes on, and calls are replayed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Literal

import pytest
from redis.asyncio import Redis
from support.fixtures.engine_setup import wait_for
from support.fixtures.old_store import OldStore
from support.fixtures.store_setup import dump

from technopay.engine import ConfirmationExpired, ConfirmationInvalid, Engine, PaymentEvent, StoreUnfit
from technopay.engine.commands import Command
from technopay.storage import RedisStore, migrate_store, migration
from technopay.storage.commands import BeginMigration, MigratePayments
from technopay.storage.partition import Partition
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import SCHEMA

STATUSES = {
    "succeeded": "succeeded", "succeeded without a limit": "succeeded", "declined": "failed",
    "refunded": "refunded", "canceled": "canceled", "guessed": "failed", "set aside": "processing",
    "resolved as settled": "succeeded", "resolved as refunded": "failed", "expired": "expired",
    "refund failed": "succeeded", "live": "requires_confirmation",
    "live without a limit": "requires_confirmation", "live with wrong codes": "requires_confirmation",
    "live and resent": "requires_confirmation", "live and refused": "requires_confirmation",
    "spent": "succeeded", "expiring": "expired", "of carol": "requires_confirmation",
    "of carol again": "requires_confirmation", "processing": "processing", "refunding": "refunding",
}  # fmt: skip
CHANGES = {
    "live": 1, "live with wrong codes": 1, "live and resent": 3, "live and refused": 2, "succeeded": 3,
    "refunded": 5, "canceled": 2, "guessed": 2, "declined": 3, "set aside": 3, "resolved as settled": 5,
    "refund failed": 5, "processing": 2, "refunding": 4, "expired": 2, "expiring": 1,
}  # fmt: skip


@pytest.fixture
def old_schema() -> str:
    return "5"


def keys_of(store: RedisStore) -> Keys:
    return store._keys


async def test_every_record_of_schema_5_is_there_and_the_audit_is_clean(old_store: OldStore) -> None:
    async with old_store.make() as store:
        audit = await store.audit()
        assert audit.clean, audit.differences
        assert (audit.checked.payments, audit.checked.limits, audit.checked.users) == (22, 3, 4)
        found = await dump(store)
        meta = found["meta"]
        assert meta["schema"] == SCHEMA
        assert not {"migration_position", "migrated_from"} & set(meta)
        assert not any({"limit", "challenge"} & set(found[key]) for key in found if key.startswith("payment:"))
        for name, version in CHANGES.items():
            assert found[f"payment:{old_store.payment(name)['id']}"]["version"] == str(version), name
        assert set(found["limits"]) == {"global:EUR", "global:USD", "global:CHF", "global:GBP"}
        day = next(iter(found["limit:global:USD"]))
        assert found["limit:global:USD"] == {day: "1250"}
        assert found["limit:global:EUR"]["limit"] == "1000000"
        waiting = {name: status for name, status in STATUSES.items() if name not in ("guessed", "declined")}
        assert {key for key in found if key.startswith("code:")} == {
            f"code:{old_store.payment(name)['id']}"
            for name, status in waiting.items()
            if status in ("requires_confirmation", "expired", "canceled")
        }


async def test_every_payment_of_schema_5_can_be_read(old_store: OldStore) -> None:
    quiet = {"settlement_service": Silence()}
    async with old_store.make() as store, old_store.engine(store, **quiet) as engine:
        found = {name: await engine.find_payment(payment_id=old_store.payment(name)["id"]) for name in STATUSES}
        assert {name: payment.status for name, payment in found.items()} == STATUSES
        assert found["set aside"].set_aside
        assert found["resolved as settled"].resolution
        assert found["resolved as settled"].resolution.note == "they said so"
        for name, attempts, resends in (
            ("live", 5, 3), ("live with wrong codes", 3, 3), ("live and resent", 4, 1), ("expiring", 5, 3)
        ):  # fmt: skip
            confirmation = found[name].confirmation
            assert confirmation
            assert (confirmation.attempts_remaining, confirmation.resends_remaining) == (attempts, resends), (
                name
            )
        assert {
            name: [(refund.amount, refund.reason) for refund in payment.refunds]
            for name, payment in found.items()
            if payment.refunds
        } == {
            "refunded": [(1_250, "requested_by_operator")],
            "declined": [(1_250, "settlement_failed")],
            "resolved as refunded": [(1_250, "settlement_failed")],
        }
        invoice = await engine.find_invoice(invoice_id=found["refunded"].invoice_id)
        assert (invoice.status, invoice.refunded_amount) == ("paid", 1_250)
        assert not found["live without a limit"].limits
        [limit] = found["processing"].limits
        assert (limit.rule, limit.currency, limit.limit) == ("global", "EUR", 1_000_000)
        assert limit.used >= 1_250
        limits = {each.currency: each.limit for each in await engine.list_all_limits()}
        assert limits == {"EUR": 1_000_000, "USD": None, "CHF": 77, "GBP": None}
        searched = (await engine.search_payments(limit=100)).data
        assert {payment.id: payment.status for payment in searched} == {
            payment.id: payment.status for payment in found.values()
        }
        entries = (
            await engine.list_entries(user_id="alice", wallet_id=old_store.facts["wallets"]["alice EUR"])
        ).data
        assert {entry.kind for entry in entries} == {"deposit", "payment", "refund"}
        assert len((await engine.list_invoices(user_id="alice", limit=100)).data) > 10
        assert (await engine.list_messages(limit=100)).data
        assert not store.unreadable.counts


async def test_a_stream_goes_on_behind_an_event_of_schema_5(old_store: OldStore) -> None:
    payment = old_store.payment("resolved as refunded")
    quiet = {"settlement_service": Silence()}
    async with old_store.make() as store, old_store.engine(store, **quiet) as engine:
        journal = await old_store.client.xrange(keys_of(store).journal)
        [first] = [entry for entry, fields in journal if fields.get("payment.started") == payment["id"]]
        async with await engine.events(user_id="alice", after=f"evt_00{first}") as events:
            changes = []
            async for event in events:
                if isinstance(event, PaymentEvent) and event.payment.id == payment["id"]:
                    changes.append((event.type, event.version))
                if len(changes) == 4:
                    break
        assert changes == [
            ("payment.processing", 2), ("payment.set_aside", 3), ("payment.resolved", 4), ("payment.failed", 5),
        ]  # fmt: skip


class Silence:
    """A settlement service that never replies."""

    async def settle(self, *_: object) -> Any:
        await asyncio.Event().wait()

    status = call_off = reverse = settle


async def test_every_waiting_payment_of_schema_5_can_be_confirmed(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        for name in ("live", "live without a limit", "live with wrong codes", "live and resent"):
            payment = old_store.payment(name)
            wrong = str((int(payment["code"]) + 1) % 1_000_000).zfill(6)
            with pytest.raises(ConfirmationInvalid):
                await confirm(engine, payment, wrong)
            assert (await confirm(engine, payment)).status == "succeeded", name
            assert (await confirm(engine, payment)).replayed, name
        resent = await engine.resend_code(
            user_id="carol", payment_id=old_store.payment("of carol")["id"], idempotency_key="new"
        )
        assert resent.confirmation
        assert resent.confirmation.resends_remaining == 2
        with pytest.raises(ConfirmationExpired):
            await confirm(engine, old_store.payment("expiring"))
        assert (await store.audit()).clean


async def confirm(engine: Engine, payment: dict[str, Any], code: str | None = None) -> Any:
    return await engine.confirm_payment(
        user_id=payment["user_id"], payment_id=payment["id"], code=code or payment["code"], wait_s=10
    )


async def test_what_schema_5_left_under_way_goes_on(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        for name, end in (("processing", "succeeded"), ("refunding", "refunded")):
            payment_id = old_store.payment(name)["id"]

            async def has_ended(payment_id: str = payment_id, end: str = end) -> bool:
                return (await engine.find_payment(payment_id=payment_id)).status == end

            await wait_for(has_ended)
        resolved = await engine.resolve_payment(
            payment_id=old_store.payment("set aside")["id"], outcome="refund", note="they said no", by="root"
        )
        assert resolved.status == "failed"

        async def are_tried() -> bool:
            found = await dump(store)
            statuses = Counter(found[key]["status"] for key in found if key.startswith("message:"))
            return statuses == {"dead": 2}

        await wait_for(are_tried, within_s=20)
        assert (await store.audit()).clean


async def test_what_schema_5_recorded_is_replayed(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        before = (await store.audit()).checked
        wallets = old_store.facts["wallets"]
        ids = {name: old_store.payment(name)["id"] for name in STATUSES}
        for name in ("live", "live without a limit", "succeeded", "guessed", "canceled", "refunded"):
            payment = old_store.payment(name)
            started = await engine.start_payment(
                user_id=payment["user_id"], invoice_id=payment["invoice_id"], wallet_id=payment["wallet_id"],
                idempotency_key=payment["key"],
            )  # fmt: skip
            assert (started.replayed, started.id) == (True, payment["id"]), name
            assert started.confirmation
            assert started.confirmation.attempts_remaining == 5
            assert len(started.limits) == (0 if name == "live without a limit" else 1)
        for number, remaining in ((2, 2), (3, 1)):
            resent = await engine.resend_code(
                user_id="bob", payment_id=ids["live and resent"], idempotency_key=f"resend-{number}"
            )
            assert resent.replayed
            assert resent.confirmation
            assert resent.confirmation.resends_remaining == remaining
        canceled = await engine.cancel_payment(
            user_id="alice", payment_id=ids["canceled"], idempotency_key="cancel-1"
        )
        assert (canceled.replayed, canceled.status) == (True, "canceled")
        assert (await confirm(engine, old_store.payment("succeeded"))).replayed
        for key, name in (("refund-1", "refunded"), ("refund-2", "refunding")):
            refunded = await engine.refund_payment(payment_id=ids[name], idempotency_key=key)
            assert refunded.replayed
        outcomes: tuple[Literal["settled", "refund"], ...] = ("settled", "refund")
        for outcome in outcomes:
            name = f"resolved as {'settled' if outcome == 'settled' else 'refunded'}"
            resolved = await engine.resolve_payment(
                payment_id=ids[name], outcome=outcome, note="they said so", by="root",
                idempotency_key=f"resolve-{name}",
            )  # fmt: skip
            assert (resolved.replayed, resolved.status) == (True, STATUSES[name])
            assert resolved.refunds == (await engine.find_payment(payment_id=ids[name])).refunds
            assert (resolved.refunded_amount > 0, resolved.set_aside) == (outcome == "refund", False)
            assert resolved.resolution
            assert resolved.resolution.outcome == outcome
        deposited = await engine.deposit(wallet_id=wallets["bob EUR"], amount=111, idempotency_key="deposit-1")
        assert deposited.replayed
        voided = await engine.void_invoice(invoice_id=old_store.invoice("void")["id"], idempotency_key="void-1")
        assert (voided.replayed, voided.status) == (True, "void")
        assert (await engine.block_user(user_id="dave", idempotency_key="block-1")).replayed
        inactive = await engine.deactivate_wallet(
            wallet_id=wallets["alice JPY"], idempotency_key="deactivate-1"
        )
        assert (inactive.replayed, inactive.status) == (True, "inactive")
        again = await engine.send_message_again(
            message_id=old_store.facts["dead_message"], idempotency_key="again-1"
        )
        assert again.replayed
        checked = (await store.audit()).checked
        assert (checked.invoices, checked.payments) == (before.invoices, before.payments)


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
            assert (await confirm(engine, payment)).status == "succeeded"


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


async def test_a_step_of_a_later_version_is_refused(old_store: OldStore) -> None:
    meta = keys_of(old_store.make()).key("meta")
    await old_store.client.hset(meta, mapping={"schema": "migrating:4", "migration_position": "0-0"})
    with pytest.raises(StoreUnfit, match="a later version migrates the store"):
        await old_store.make().open()
    assert (await old_store.client.hgetall(meta))["schema"] == "migrating:4"


@pytest.mark.parametrize("old_store", ["valkey", "redis"], indirect=True)
async def test_only_technopay_migrate_migrates_a_server(
    old_store: OldStore, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = old_store.make().url
    assert url
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", 0.01)
    meta = Keys(namespace).key("meta")
    for schema, line in (
        ("5", "the store has schema 5, this program 6: run `technopay migrate`"),
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
    with pytest.raises(StoreUnfit, match="the store has schema None, this program 6"):
        await migrate_store(url, namespace=namespace)
