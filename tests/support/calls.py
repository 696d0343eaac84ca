"""One call of every script, prepared in a small world, to be made as often as a test likes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from support import store as run
from support.scene import (
    ALONE,
    DAY_MS,
    RIGHT,
    WRONG,
    Scene,
    client_of,
    new_id,
    new_invoice,
    operation,
    start_command,
    unrecorded,
)

from technopay.engine import commands
from technopay.engine.commands import Command
from technopay.engine.models import from_ms
from technopay.engine.testing.mocks import AddToMockInbox, MockSettlement, ReadMockInbox
from technopay.engine.values import ClaimedMessage, Evidence
from technopay.storage.commands import (
    AdvanceMigration,
    BeginMigration,
    MigrateLimits,
    MigratePayments,
    MigrateReferences,
    ReadReferences,
)

Call = Callable[[], Awaitable[Any]]
Case = Callable[[Scene], Awaitable[Call]]
Prepared = Call | Command[Any]

CASES: dict[str, Case] = {}


def case(prepare: Callable[[Scene], Awaitable[Prepared]]) -> None:
    """Note down how a call or a command is prepared, by the name of its script; `__` tells cases apart."""

    async def make(scene: Scene) -> Call:
        made = await prepare(scene)
        return partial(scene.store.run, made, ALONE) if isinstance(made, Command) else made

    CASES[prepare.__name__] = make


@case
async def create_user(scene: Scene) -> Prepared:
    return commands.CreateUser(operation(), "bob", "bob@example.com", None)


@case
async def set_user_status(scene: Scene) -> Prepared:
    return commands.SetUserStatus(operation(), "alice", "blocked")


@case
async def unlock_user(scene: Scene) -> Prepared:
    await scene.lock_out("alice", 3)
    return commands.UnlockUser(operation(), "alice", 3)


@case
async def read_gauges(scene: Scene) -> Call:
    async def measure() -> Any:
        # Whatever waits gets older from one call to the next.
        return replace(await scene.store.measure(), message_age_ms=0)

    return measure


@case
async def create_wallet(scene: Scene) -> Prepared:
    return commands.CreateWallet(operation(), new_id("wal"), "alice", "EUR")


@case
async def set_wallet_status(scene: Scene) -> Prepared:
    return commands.SetWalletStatus(operation(), await scene.wallet(), "inactive")


@case
async def deposit(scene: Scene) -> Prepared:
    return commands.Deposit(operation(), await scene.wallet(), 500)


@case
async def create_invoice(scene: Scene) -> Prepared:
    return new_invoice("alice", 100, "EUR", from_ms(await scene.now_ms() + DAY_MS), reference="R-1")


@case
async def void_invoice(scene: Scene) -> Prepared:
    invoice = await scene.invoice()
    await scene.started(await scene.wallet(), invoice)
    return commands.VoidInvoice(operation(), invoice)


@case
async def set_limit(scene: Scene) -> Prepared:
    return commands.SetLimit(operation(), "EUR", 5_000)


@case
async def read_limits(scene: Scene) -> Prepared:
    await scene.set_limit("EUR", 5_000)
    return commands.ReadLimits()


@case
async def read_user(scene: Scene) -> Prepared:
    return commands.ReadUser("alice")


@case
async def read_wallet(scene: Scene) -> Prepared:
    return commands.ReadWallet(await scene.wallet())


@case
async def read_invoice(scene: Scene) -> Prepared:
    return commands.ReadInvoice(await scene.invoice())


@case
async def has_records(scene: Scene) -> Prepared:
    await scene.invoice()
    return commands.HasRecords("alice")


@case
async def list_invoices(scene: Scene) -> Prepared:
    await scene.invoice()
    return commands.ListInvoices("alice", "", 10)


@case
async def list_wallets(scene: Scene) -> Prepared:
    await scene.wallet()
    return commands.ListWallets("alice", "", 10)


@case
async def list_entries(scene: Scene) -> Prepared:
    return commands.ListEntries(await scene.wallet(), None, "", 10)


@case
async def list_payments(scene: Scene) -> Prepared:
    await scene.processing(await scene.wallet())
    return commands.ListPayments("alice", "", 10)


@case
async def search_payments(scene: Scene) -> Prepared:
    await scene.processing(await scene.wallet())
    return commands.SearchPayments(None, None, None, "", 10)


@case
async def start_payment(scene: Scene) -> Prepared:
    return start_command(await scene.wallet(), await scene.invoice())


@case
async def start_payment__recorded(scene: Scene) -> Prepared:
    return start_command(await scene.wallet(), await scene.invoice(), identity=operation())


async def confirmation(
    scene: Scene, evidence: Evidence, *, balance: int = 10_000, attempts: int = 5
) -> commands.ConfirmPayment:
    wallet = await scene.wallet(balance=10_000)
    payment = await scene.started(wallet, await scene.invoice(), attempts=attempts)
    await scene.write("wallet", wallet, balance=balance)
    return commands.ConfirmPayment(new_id("op"), payment, "alice", evidence)


@case
async def confirm_payment(scene: Scene) -> Prepared:
    return await confirmation(scene, RIGHT)


@case
async def confirm_payment__with_a_wrong_code(scene: Scene) -> Prepared:
    return await confirmation(scene, WRONG)


@case
async def confirm_payment__with_the_last_wrong_code(scene: Scene) -> Prepared:
    return await confirmation(scene, WRONG, attempts=1)


@case
async def confirm_payment__without_funds(scene: Scene) -> Prepared:
    return await confirmation(scene, RIGHT, balance=999)


@case
async def confirm_payment__past_the_limit(scene: Scene) -> Prepared:
    command = await confirmation(scene, RIGHT)
    await scene.set_limit("EUR", 999)
    return command


@case
async def resend_code(scene: Scene) -> Prepared:
    payment = await scene.started(await scene.wallet(), await scene.invoice())
    return commands.ResendCode(unrecorded(), payment, "alice", 2, 60_000)


@case
async def cancel_payment(scene: Scene) -> Prepared:
    payment = await scene.started(await scene.wallet(), await scene.invoice())
    return commands.CancelPayment(unrecorded(), payment, "alice")


@case
async def read_payment(scene: Scene) -> Prepared:
    payment, _ = await scene.processing(await scene.wallet())
    return commands.ReadPayment(payment, "alice")


@case
async def find_payment(scene: Scene) -> Prepared:
    payment, _ = await scene.processing(await scene.wallet())
    return commands.FindPayment(payment)


@case
async def read_notification_contexts(scene: Scene) -> Call:
    payment = await scene.started(await scene.wallet(), await scene.invoice())
    return lambda: scene.context(payment)


@case
async def read_owned(scene: Scene) -> Call:
    invoice = await scene.invoice()
    payment = await scene.started(await scene.wallet(), invoice)
    return lambda: run.read_owned(scene.store, [payment, invoice], ["alice", "bob"])


@case
async def complete_payment(scene: Scene) -> Call:
    payment, claim = await scene.processing(await scene.wallet())
    return lambda: scene.complete(payment, claim, "settled")


@case
async def complete_payment__given_back(scene: Scene) -> Call:
    payment, claim = await scene.processing(await scene.wallet())
    return lambda: scene.complete(payment, claim, "given_back")


@case
async def complete_payment__reversed(scene: Scene) -> Call:
    payment, claim = await scene.refunding(await scene.wallet())
    return lambda: scene.complete(payment, claim, "reversed")


@case
async def renew_claims(scene: Scene) -> Call:
    payment, claim = await scene.processing(await scene.wallet())
    return lambda: run.renew_claims(scene.store, [("payment", payment, claim)], keep=True)


@case
async def set_aside(scene: Scene) -> Call:
    payment, claim = await scene.processing(await scene.wallet())
    return lambda: run.set_aside(scene.store, payment, claim, 15_000)


@case
async def resolve_payment(scene: Scene) -> Prepared:
    payment, claim = await scene.processing(await scene.wallet())
    assert await run.set_aside(scene.store, payment, claim, 15_000)
    return commands.ResolvePayment(operation(), payment, "refund", "called them", "root")


@case
async def begin_refund(scene: Scene) -> Prepared:
    return commands.BeginRefund(operation(), await scene.succeeded(await scene.wallet()), "ref_001")


@case
async def take_due__expiries(scene: Scene) -> Call:
    payment = await scene.started(await scene.wallet(), await scene.invoice(), lifetime_ms=0)
    await scene.make_due(payment)
    return lambda: codes(run.take_due(scene.store, 10))


@case
async def claim_relay(scene: Scene) -> Call:
    await scene.started(await scene.wallet(), await scene.invoice())

    async def read() -> Any:
        outbox = await run.read_outbox(scene.store, "relay-a", 10)
        assert outbox is not None
        return outbox.notifications, outbox.cursor, outbox.entries

    return read


async def failed_delivery(scene: Scene, retry_ms: int) -> Call:
    """Bring a message to where its first delivery failed; answer how that is written down."""
    await scene.started(await scene.wallet(), await scene.invoice())
    outbox = await run.read_outbox(scene.store, "relay-a", 100)
    assert outbox is not None
    failed = [run.failed_delivery(each, "email", "waiting", "it bounced") for each in outbox.notifications]
    assert len(failed) == 1
    return lambda: run.record_deliveries(scene.store, outbox.claim, outbox.cursor, retry_ms, failed)


@case
async def record_deliveries(scene: Scene) -> Call:
    return await failed_delivery(scene, 500)


async def retried_message(scene: Scene) -> ClaimedMessage:
    record = await failed_delivery(scene, 0)
    assert await record()
    due = await run.take_due(scene.store, 10)
    return due.messages[0]


@case
async def record_attempt(scene: Scene) -> Call:
    message = await retried_message(scene)
    return lambda: run.record_attempt(scene.store, message, "waiting", "it bounced again", 500)


@case
async def record_attempt__the_last(scene: Scene) -> Call:
    message = await retried_message(scene)
    return lambda: run.record_attempt(scene.store, message, "dead", "it bounced again", 500)


@case
async def send_message_again(scene: Scene) -> Call:
    message = await retried_message(scene)
    assert await run.record_attempt(scene.store, message, "dead", "it bounced again", 500)
    who = operation()
    return lambda: run.send_again(scene.store, who, f"msg_00{message.notification.entry_id}")


@case
async def list_messages(scene: Scene) -> Prepared:
    await retried_message(scene)
    return commands.ListMessages(None, None, "", 10)


@case
async def initialise(scene: Scene) -> Call:
    return lambda: scene.store._initialise_store()


@case
async def begin_migration(scene: Scene) -> Prepared:
    await client_of(scene.store).hset(scene.keys.key("meta"), "schema", "5")
    return BeginMigration("5", "0123456789abcdef")


@case
async def advance_migration(scene: Scene) -> Prepared:
    meta = {"schema": "migrating:1", "migration_position": "0-0"}
    await client_of(scene.store).hset(scene.keys.key("meta"), mapping=meta)
    return AdvanceMigration("migrating:1", "0-0", "migrating:2", "0-0")


@case
async def read_references(scene: Scene) -> Prepared:
    return ReadReferences([await scene.invoice()])


@case
async def migrate_references(scene: Scene) -> Prepared:
    return MigrateReferences(["4:Shope\u0301", "4:Shop\u00e9", await decomposed_invoice(scene), "\u00e9", "0"])


@case
async def migrate_payments(scene: Scene) -> Prepared:
    payment_id = await scene.started(await scene.wallet(), await scene.invoice())
    await as_in_schema_5(scene, payment_id)
    return MigratePayments([payment_id])


@case
async def migrate_limits(scene: Scene) -> Prepared:
    await scene.set_limit("EUR", 5_000)
    client, keys = client_of(scene.store), scene.keys
    await client.rename(keys.key("limit", "global:EUR"), keys.key("limit", "EUR"))
    await client.srem(keys.key("limits"), "global:EUR")
    await client.sadd(keys.key("limits"), "EUR")
    return MigrateLimits(["EUR"])


async def decomposed_invoice(scene: Scene) -> str:
    """Create an invoice whose reference is not in normal form."""
    expires_at = from_ms(await scene.now_ms() + DAY_MS)
    invoice = new_invoice("alice", 100, "EUR", expires_at, reference="e\u0301")
    assert (await scene.store.run(invoice)).code == "ok"
    return invoice.invoice_id


async def as_in_schema_5(scene: Scene, payment_id: str) -> None:
    """Write a payment that waits for its code as schema 5 did."""
    client, key, code_key = (
        client_of(scene.store), scene.keys.key("payment", payment_id), scene.keys.key("code", payment_id),
    )  # fmt: skip
    payment, code = await client.hgetall(key), json.loads(await client.get(code_key))
    names = ("method", "version", "attempts", "resends", "expires_at", "payable_until", "wrong_calls", "key")
    packed = " ".join(code.get(name, "") for name in names)
    await client.hset(key, mapping={"limit": payment["global_period"], "challenge": packed})
    await client.hdel(key, "version", "global_period")
    await client.delete(code_key)


@case
async def mark_demo(scene: Scene) -> Call:
    await client_of(scene.store).hset(scene.keys.key("meta"), "demo", "seeding")
    return scene.store.mark_seeded


@case
async def count_live_codes(scene: Scene) -> Call:
    wallet = await scene.wallet()
    await scene.started(wallet, await scene.invoice())
    return scene.store.count_live_codes


@case
async def read_meta(scene: Scene) -> Call:
    return scene.store.read_meta


@case
async def bind_secret(scene: Scene) -> Prepared:
    return commands.BindSecret(["0123abcd", "4567abcd"])


@case
async def mock_settlement(scene: Scene) -> Prepared:
    return MockSettlement("settle", "pay_1")


@case
async def add_to_mock_inbox(scene: Scene) -> Prepared:
    return AddToMockInbox("alice", '{"kind": "payment.succeeded"}')


@case
async def read_mock_inbox(scene: Scene) -> Prepared:
    await run.mock_inbox(scene.store, "alice", "{}")
    return ReadMockInbox("alice", 200)


async def codes(call: Awaitable[Any]) -> Any:
    """Answer what was handed out, without the time until the next of it."""
    due = await call
    return due.payments, due.messages
