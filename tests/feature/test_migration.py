"""A store of an earlier schema is migrated once: every record is readable and usable, calls are replayed."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from support.fixtures.dumps import dump, dump_keys
from support.fixtures.engine_setup import other_than, wait_for
from support.fixtures.old_store import OldStore, differences, keys_of
from support.fixtures.store_setup import client_of

from technopay.engine import (
    ConfirmationExpired,
    ConfirmationInvalid,
    Engine,
    InvoiceExpired,
    Payment,
    PaymentEvent,
    ReferenceUsed,
)
from technopay.storage import RedisStore, migration
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


NEW_NAMES = {
    "8:bookshopBestellung \u00c4-7": "keyed",
    "5:Caf\u00e9\u00d6-1": "payee",
    "8:bookshopPaid-\u00e9": "succeeded",
}


SCHEMA_4 = pytest.mark.parametrize("old_schema", ["4"])
EACH_SCHEMA = pytest.mark.parametrize("old_schema", ["4", "5"])


@pytest.fixture
def old_schema() -> str:
    return "5"


async def confirm(engine: Engine, payment: dict[str, Any], code: str | None = None) -> Payment:
    return await engine.confirm_payment(
        user_id=payment["user_id"], payment_id=payment["id"], code=code or payment["code"], wait_s=10
    )


def create(engine: Engine, invoice: dict[str, Any], **changes: Any) -> Any:
    arguments = {name: value for name, value in invoice.items() if name not in ("id", "idempotency_key")}
    arguments["expires_at"] = datetime.fromisoformat(arguments["expires_at"])
    return engine.create_invoice(**(arguments | changes))


class Silence:
    """A settlement service that never replies."""

    async def settle(self, *_: object) -> Any:
        await asyncio.Event().wait()

    status = call_off = reverse = settle


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


@SCHEMA_4
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


@SCHEMA_4
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


@EACH_SCHEMA
async def test_every_waiting_payment_can_be_confirmed(old_store: OldStore) -> None:
    collisions = 1 if "first of two" in old_store.facts["invoices"] else 0
    async with old_store.make() as store, old_store.engine(store) as engine:
        for name in [name for name in old_store.facts["payments"] if name.startswith("live")]:
            if name == "live and refused":
                continue
            payment = old_store.payment(name)
            with pytest.raises(ConfirmationInvalid):
                await confirm(engine, payment, other_than(payment["code"]))
            assert (await confirm(engine, payment)).status == "succeeded", name
            assert (await confirm(engine, payment)).replayed, name
        resent = await engine.resend_code(
            user_id="carol", payment_id=old_store.payment("of carol")["id"], idempotency_key="new"
        )
        assert resent.confirmation
        assert resent.confirmation.resends_remaining == 2
        with pytest.raises(ConfirmationExpired):
            await confirm(engine, old_store.payment("expiring"))
        assert len(await differences(store)) == collisions


async def messages(store: RedisStore) -> dict[str, dict[str, str]]:
    """Read the records of messages by their status: lists omit messages older than 72 hours."""
    found = await dump(store)
    return {found[key]["status"]: found[key] | {"id": key} for key in found if key.startswith("message:")}


@EACH_SCHEMA
async def test_payments_and_messages_under_way_go_on(old_store: OldStore) -> None:
    collisions = 1 if "first of two" in old_store.facts["invoices"] else 0
    async with old_store.make() as store:
        before = await messages(store)
        dead, waiting = before["dead"]["id"], before["waiting"]["id"]
        assert before["waiting"]["attempts"] == "1"
        async with old_store.engine(store) as engine:
            for name, end in (("processing", "succeeded"), ("refunding", "refunded")):
                if name not in old_store.facts["payments"]:
                    continue
                payment_id = old_store.payment(name)["id"]

                async def has_ended(payment_id: str = payment_id, end: str = end) -> bool:
                    return (await engine.find_payment(payment_id=payment_id)).status == end

                await wait_for(has_ended)
            stuck = old_store.payment("set aside")["id"]
            assert [each.id for each in (await engine.search_payments(set_aside=True)).data] == [stuck]
            resolved = await engine.resolve_payment(
                payment_id=stuck, outcome="refund", note="they said no", by="root"
            )
            assert resolved.status == "failed"
            message_id = dead.replace("message:", "msg_00")
            assert (await engine.send_message_again(message_id=message_id)).status == "waiting"

            async def are_tried() -> bool:
                found = await dump(store)
                return {found[key]["status"] for key in (dead, waiting)} == {"dead"}

            await wait_for(are_tried)
        assert {(await dump(store))[key]["attempts"] for key in (dead, waiting)} == {"6"}
        assert len(await differences(store)) == collisions


@EACH_SCHEMA
async def test_a_recorded_call_is_replayed(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
        before = (await store.audit()).checked
        assert (await confirm(engine, old_store.payment("succeeded"))).replayed
        wallet_id = old_store.facts["wallets"]["bob EUR"]
        assert (await engine.deposit(wallet_id=wallet_id, amount=111, idempotency_key="deposit-1")).replayed
        refunded = await engine.refund_payment(
            payment_id=old_store.payment("refunded")["id"], idempotency_key="refund-1"
        )
        assert (refunded.replayed, refunded.status) == (True, "refunded")
        live = old_store.payment("live")
        started = await engine.start_payment(
            user_id="alice", invoice_id=live["invoice_id"], wallet_id=live["wallet_id"],
            idempotency_key=live["key"],
        )  # fmt: skip
        assert (started.replayed, started.id) == (True, live["id"])
        invoice = await create(engine, old_store.invoice("keyed"), idempotency_key="invoice-1")
        assert (invoice.replayed, invoice.id) == (True, old_store.invoice("keyed")["id"])
        checked = (await store.audit()).checked
        assert (checked.invoices, checked.payments) == (before.invoices, before.payments)


async def test_every_kind_of_call_of_schema_5_is_replayed(old_store: OldStore) -> None:
    async with old_store.make() as store, old_store.engine(store) as engine:
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
        refunded = await engine.refund_payment(payment_id=ids["refunding"], idempotency_key="refund-2")
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


@SCHEMA_4
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
