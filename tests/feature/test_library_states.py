"""The contract's table "States and commands": every command meets a payment in every state."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple, get_args

import pytest
from support.fixtures.engine_setup import Setup, make_setup, other_than, quick_settings

from technopay.engine import (
    SILENCE,
    ConfirmationInvalid,
    Engine,
    Payment,
    Refusal,
    ScriptedSettlementService,
    payment_flows,
)
from technopay.engine.commands import CompletePayment
from technopay.engine.models import PaymentStatus
from technopay.engine.ports import Outcome
from technopay.engine.values import Verdict
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

AMOUNT, BALANCE = 2_500, 10_000
UNKNOWN = "pay_00unknown"


class Cell(NamedTuple):
    """The result of a command ('' accepted, 'replay', or a code), and the final states of payment, invoice."""

    answer: str
    payment: str
    invoice: str


COMMANDS = ("start", "confirm", "confirm_wrongly", "resend", "cancel", "settle", "give_back", "refund", "void")


def row(payment: str, invoice: str, *cells: str) -> dict[str, Cell]:
    """Make a row of the table, a cell for each command.

    `>canceled/open` is accepted and changes payment and invoice; any other result changes nothing.
    """
    made = {}
    for command, cell in zip(COMMANDS, cells, strict=True):
        ends = cell[1:].split("/") if cell.startswith(">") else (payment, invoice)
        made[command] = Cell("" if cell.startswith(">") else cell, *ends)
    return made


LOST, NOT_CONFIRMABLE, NOT_REFUNDABLE = "claim_lost", "payment_not_confirmable", "payment_not_refundable"
NOT_CANCELABLE, NOT_VOIDABLE = "payment_not_cancelable", "invoice_not_voidable"
CLOSED = (NOT_CONFIRMABLE, NOT_CONFIRMABLE, NOT_CANCELABLE)
"""A wrong confirm, a resend and a cancel of a payment that waits for no code."""
EXPIRED = row(
    "expired", "open",
    "", *["confirmation_expired"] * 3, NOT_CANCELABLE, LOST, LOST, NOT_REFUNDABLE, ">expired/void",
)  # fmt: skip
TABLE = {
    "none": row("", "open", ">/open", *["payment_not_found"] * 7, ">/void"),
    "requires_confirmation": row(
        "requires_confirmation", "open",
        ">canceled/open", ">processing/processing", "confirmation_invalid", "", ">canceled/open",
        LOST, LOST, NOT_REFUNDABLE, ">canceled/void",
    ),
    "expired_unnoticed": EXPIRED,
    "expired": EXPIRED,
    "processing": row(
        "processing", "processing",
        "payment_in_progress", "replay", *CLOSED,
        ">succeeded/paid", ">failed/open", NOT_REFUNDABLE, NOT_VOIDABLE,
    ),
    "succeeded": row(
        "succeeded", "paid",
        "invoice_already_paid", "replay", *CLOSED, "", LOST, ">refunded/paid", NOT_VOIDABLE,
    ),
    "failed": row(
        "failed", "open", "", "settlement_failed", *CLOSED, LOST, "", NOT_REFUNDABLE, ">failed/void"
    ),
    "failed_by_attempts": row(
        "failed", "open", "", NOT_CONFIRMABLE, *CLOSED, LOST, "", NOT_REFUNDABLE, ">failed/void"
    ),
    "canceled": row(
        "canceled", "open", "", NOT_CONFIRMABLE, *CLOSED, LOST, LOST, NOT_REFUNDABLE, ">canceled/void"
    ),
    "refunding": row(
        "refunding", "paid", "invoice_already_paid", NOT_CONFIRMABLE, *CLOSED, LOST, LOST, "", NOT_VOIDABLE
    ),
    "refunded": row(
        "refunded", "paid", "invoice_already_paid", NOT_CONFIRMABLE, *CLOSED, LOST, LOST, "", NOT_VOIDABLE
    ),
}  # fmt: skip
TAKEN = ("processing", "succeeded", "refunding")


@pytest.fixture
async def setup(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    """A user with a settlement service that is silent until the test scripts a reply."""
    monkeypatch.setattr(payment_flows, "REFUND_WAIT_S", 0.01)
    service = ScriptedSettlementService(settle=[SILENCE], reverse=[SILENCE], status=[SILENCE])
    settings = quick_settings(settlement_timeout_s=5.0, settlement_silence_s=30.0, drain_s=0.01)
    async with Engine(store, settings, settlement_service=service) as engine:
        yield await make_setup(engine, store, balance=BALANCE)


async def bring_to(state: str, setup: Setup, invoice_id: str) -> Payment | None:
    """Make a payment of the invoice and bring it into a state."""
    if state == "none":
        return None
    if state.startswith("expired"):
        return await make_expired(setup, invoice_id, noticed=state == "expired")
    payment = await setup.engine.start_payment(
        user_id=setup.user_id, invoice_id=invoice_id, wallet_id=setup.wallet_id
    )
    match state:
        case "canceled":
            await setup.engine.cancel_payment(user_id=setup.user_id, payment_id=payment.id)
        case "failed_by_attempts":
            for _ in range(5):
                with pytest.raises(ConfirmationInvalid):
                    await setup.confirm(payment, "wrong")
        case "processing":
            await setup.confirm(payment, wait_s=0)
        case "failed":
            await setup.confirm(payment, wait_s=0)
            await complete(setup, payment.id, "given_back")
        case "succeeded" | "refunding" | "refunded":
            await setup.confirm(payment, wait_s=0)
            await complete(setup, payment.id, "settled")
    if state in ("refunding", "refunded"):
        await setup.engine.refund_payment(payment_id=payment.id)
    if state == "refunded":
        await complete(setup, payment.id, "reversed")
    return payment


async def make_expired(setup: Setup, invoice_id: str, *, noticed: bool) -> Payment:
    """Make a payment with an expired code; the agenda has processed that, or will only much later."""
    settings = quick_settings(code_lifetime_s=0, agenda_interval_s=0.02 if noticed else 3_600)
    async with Engine(setup.store, settings) as brief:
        payment = await brief.start_payment(
            user_id=setup.user_id, invoice_id=invoice_id, wallet_id=setup.wallet_id
        )
        if noticed:
            await setup.message("payment.expired")
    return payment


async def carry_out(command: str, setup: Setup, payment: Payment | None, invoice_id: str) -> tuple[str, Any]:
    """Run a command; return its result, as in the table, and the payment of the result."""
    engine, payment_id = setup.engine, payment.id if payment else UNKNOWN
    code = await setup.right_code(payment) if payment else "123456"
    owned = {"user_id": setup.user_id, "payment_id": payment_id}
    result: Any
    try:
        match command:
            case "start":
                result = await engine.start_payment(
                    user_id=setup.user_id, invoice_id=invoice_id, wallet_id=setup.wallet_id
                )
            case "confirm":
                result = await engine.confirm_payment(**owned, code=code, wait_s=0)
            case "confirm_wrongly":
                result = await engine.confirm_payment(**owned, code=other_than(code), wait_s=0)
            case "resend":
                result = await engine.resend_code(**owned)
            case "cancel":
                result = await engine.cancel_payment(**owned)
            case "refund":
                result = await refund(setup, payment_id)
            case "void":
                result = await engine.void_invoice(invoice_id=invoice_id)
            case "settle" | "give_back":
                verdict: Verdict = "settled" if command == "settle" else "given_back"
                outcome = await complete(setup, payment_id, verdict)
                return "" if outcome.code == "ok" else outcome.code, outcome.value
    except Refusal as refusal:
        return refusal.code, refusal.payment
    return "replay" if result.replayed else "", result


async def complete(setup: Setup, payment_id: str, verdict: Verdict) -> Outcome[Payment]:
    """Record the verdict of the settlement service, under any current claim."""
    for claim in ("1", "2", "3"):
        completion = CompletePayment(payment_id, claim, verdict)
        outcome = await setup.store.run(completion)
        if outcome.code != "claim_lost":
            break
    return outcome


async def refund(setup: Setup, payment_id: str) -> Payment:
    """Order a refund; if it is accepted, the settlement service reverses at once."""
    before = await setup.engine.find_payment(payment_id=payment_id)
    result = await setup.engine.refund_payment(payment_id=payment_id)
    if before.status == "succeeded":
        assert result.status == "refunding"
        await complete(setup, payment_id, "reversed")
    return result


@pytest.mark.parametrize(
    ("state", "command"), [(state, command) for state, cells in TABLE.items() for command in cells]
)
async def test_a_command_meets_a_payment_in_a_state(setup: Setup, state: str, command: str) -> None:
    expected = TABLE[state][command]
    invoice = await setup.invoice(AMOUNT)
    payment = await bring_to(state, setup, invoice.id)

    answer, shown = await carry_out(command, setup, payment, invoice.id)

    assert answer == expected.answer
    assert (await setup.engine.find_invoice(invoice_id=invoice.id)).status == expected.invoice
    if payment:
        after = await setup.payment(payment)
        assert after.status == expected.payment
        if answer not in ("", "replay", "claim_lost"):
            assert (shown.id, shown.status) == (payment.id, expected.payment), "a refusal shows the payment"
        assert await setup.balance() == BALANCE - AMOUNT * (after.status in TAKEN)
    if command == "start" and answer == "":
        assert shown.status == "requires_confirmation"
        assert shown.id != (payment and payment.id)


def test_the_table_has_every_state() -> None:
    assert set(get_args(PaymentStatus)) <= set(TABLE)
