"""The contract's table "States and commands": every command meets a payment in every state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

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
from technopay.engine.ports import Outcome
from technopay.engine.values import Verdict
from technopay.storage import RedisStore

AMOUNT, BALANCE = 2_500, 10_000
UNKNOWN = "pay_00unknown"


class Cell(NamedTuple):
    """What a command answers ('' accepted, 'replay' again, or a code), and how payment and invoice end."""

    answer: str
    payment: str
    invoice: str


def row(payment: str, invoice: str, **cells: str | Cell) -> dict[str, Cell]:
    """Make a row of the table; a code alone means that nothing changes."""
    return {
        command: cell if isinstance(cell, Cell) else Cell(cell, payment, invoice)
        for command, cell in cells.items()
    }


NOT_CONFIRMABLE = {
    "confirm": "payment_not_confirmable",
    "confirm_wrongly": "payment_not_confirmable",
    "resend": "payment_not_confirmable",
    "cancel": "payment_not_cancelable",
}
OVER = NOT_CONFIRMABLE | {"refund": "payment_not_refundable"}
EXPIRED = row(
    "expired",
    "open",
    start="",
    confirm="confirmation_expired",
    confirm_wrongly="confirmation_expired",
    resend="confirmation_expired",
    cancel="payment_not_cancelable",
    settle="claim_lost",
    give_back="claim_lost",
    refund="payment_not_refundable",
    void=Cell("", "expired", "void"),
)
TABLE = {
    "none": row(
        "",
        "open",
        start=Cell("", "", "open"),
        confirm="payment_not_found",
        confirm_wrongly="payment_not_found",
        resend="payment_not_found",
        cancel="payment_not_found",
        settle="payment_not_found",
        give_back="payment_not_found",
        refund="payment_not_found",
        void=Cell("", "", "void"),
    ),
    "requires_confirmation": row(
        "requires_confirmation",
        "open",
        start=Cell("", "canceled", "open"),
        confirm=Cell("", "processing", "processing"),
        confirm_wrongly="confirmation_invalid",
        resend="",
        cancel=Cell("", "canceled", "open"),
        settle="claim_lost",
        give_back="claim_lost",
        refund="payment_not_refundable",
        void=Cell("", "canceled", "void"),
    ),
    "expired_unnoticed": EXPIRED,
    "expired": EXPIRED,
    "processing": row(
        "processing",
        "processing",
        start="payment_in_progress",
        **OVER | {"confirm": "replay"},
        settle=Cell("", "succeeded", "paid"),
        give_back=Cell("", "failed", "open"),
        void="invoice_not_voidable",
    ),
    "succeeded": row(
        "succeeded",
        "paid",
        start="invoice_already_paid",
        **NOT_CONFIRMABLE | {"confirm": "replay"},
        settle="",
        give_back="claim_lost",
        refund=Cell("", "refunded", "paid"),
        void="invoice_not_voidable",
    ),
    "failed": row(
        "failed",
        "open",
        start="",
        **OVER | {"confirm": "settlement_failed"},
        settle="claim_lost",
        give_back="",
        void=Cell("", "failed", "void"),
    ),
    "failed_by_attempts": row(
        "failed", "open", start="", **OVER, settle="claim_lost", give_back="", void=Cell("", "failed", "void")
    ),
    "canceled": row(
        "canceled",
        "open",
        start="",
        **OVER,
        settle="claim_lost",
        give_back="claim_lost",
        void=Cell("", "canceled", "void"),
    ),
    "refunding": row(
        "refunding",
        "paid",
        start="invoice_already_paid",
        **NOT_CONFIRMABLE,
        settle="claim_lost",
        give_back="claim_lost",
        refund="",
        void="invoice_not_voidable",
    ),
    "refunded": row(
        "refunded",
        "paid",
        start="invoice_already_paid",
        **NOT_CONFIRMABLE,
        settle="claim_lost",
        give_back="claim_lost",
        refund="",
        void="invoice_not_voidable",
    ),
}
TAKEN = ("processing", "succeeded", "refunding")


@pytest.fixture
async def setup(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    """Somebody whose settlements say nothing until the test says what."""
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
    """Make a payment whose code never lived; the agenda has noticed that, or will only much later."""
    settings = quick_settings(code_lifetime_s=0, agenda_interval_s=0.02 if noticed else 3_600)
    async with Engine(setup.store, settings) as brief:
        payment = await brief.start_payment(
            user_id=setup.user_id, invoice_id=invoice_id, wallet_id=setup.wallet_id
        )
        if noticed:
            await setup.message("payment.expired")
    return payment


async def carry_out(command: str, setup: Setup, payment: Payment | None, invoice_id: str) -> tuple[str, Any]:
    """Give a command; answer what it answered, as in the table, and the payment that came with it."""
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
    """Write down what the settlement service decided, under whatever claim is current."""
    for claim in ("1", "2", "3"):
        completion = CompletePayment(payment_id, claim, verdict)
        outcome = await setup.store.run(completion)
        if outcome.code != "claim_lost":
            break
    return outcome


async def refund(setup: Setup, payment_id: str) -> Payment:
    """Give the order to refund; where it is carried out, the settlement service reverses at once."""
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


def test_the_table_is_whole() -> None:
    assert {len(cells) for cells in TABLE.values()} == {9}
    assert len(TABLE) == 11
