"""One call of every script, prepared in a small world, to be made as often as a test likes."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from support import migration_calls  # noqa: F401 - it adds its cases
from support import store as run
from support.cases import CASES, Call, Case, Prepared, case
from support.scene import (
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
from technopay.engine.models import from_ms
from technopay.engine.testing.mocks import AddToMockInbox, MockSettlement, ReadMockInbox
from technopay.engine.values import ClaimedMessage, Evidence


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
    return MockSettlement("settle", "pay_1", 1_000)


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


__all__ = ["CASES", "Call", "Case"]
