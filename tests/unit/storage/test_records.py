"""Replies become records: what is shown of a payment in each state, and how addresses are masked."""

from __future__ import annotations

import pytest

from technopay.engine.models import OperatorPayment, Payment, from_ms
from technopay.engine.values import PaymentTerms
from technopay.storage.business_days import Calendar
from technopay.storage.records import (
    CODE_VIEW,
    CODE_VIEW_AT,
    PAYMENT_VIEW,
    SEPARATOR,
    context_from,
    entry_from,
    fields_of,
    invoice_from,
    limit_from,
    mask_email,
    mask_phone,
    message_from,
    payment_from,
)

VIEW = [*PAYMENT_VIEW[:CODE_VIEW_AT], *(f"code_{name}" for name in CODE_VIEW), *PAYMENT_VIEW[CODE_VIEW_AT:]]
"""The parts of a view behind the id and the addresses."""

WHEN_DEBITED, WHEN_RARE = VIEW.index("paid_at"), VIEW.index("failure")
"""From where on parts can be left out."""

CALENDAR = Calendar("UTC")
WAITING = {
    "code_method": "sms", "code_version": "1", "code_attempts": "5", "code_resends": "3",
    "code_expires_at": "2000", "code_key": "0123abcd",
}  # fmt: skip


def view(*, email: str = "", phone: str = "+15550100", **parts: str) -> str:
    """Make a view with all parts in it."""
    basic = {
        "invoice": "inv_1", "wallet": "wal_1", "user": "alice", "amount": "700", "currency": "EUR",
        "merchant": "Shop", "status": "requires_confirmation", "created_at": "1000",
        "global_period": "1970-01-01",
    } | parts  # fmt: skip
    assert basic.keys() <= set(VIEW)
    return SEPARATOR.join(["pay_1", email, phone, *(basic.get(name, "") for name in VIEW)])


def shortened(view: str, parts: int) -> str:
    """Leave out what follows the first parts."""
    return SEPARATOR.join(view.split(SEPARATOR)[: 3 + parts])


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("alice@example.com", "a***@example.com"),
        ("a@b.example", "a***@b.example"),
        ('"a@b"@example.com', '"***@example.com'),
        ("", "***"),
        ("no address", "***"),
    ],
)
def test_of_an_email_address_the_first_letter_and_the_domain_are_shown(email: str, masked: str) -> None:
    assert mask_email(email) == masked


@pytest.mark.parametrize(
    ("phone", "masked"), [("+15550100", "+1•••0100"), ("+4915112345678", "+4•••5678"), ("+12345", "+1•••45")]
)
def test_of_a_phone_number_the_first_and_last_digits_are_shown(phone: str, masked: str) -> None:
    assert mask_phone(phone) == masked


def test_a_confirmation_is_masked_and_shown_while_it_waits_and_when_it_expired() -> None:
    waiting, expired = (
        payment_from(Payment, view(**WAITING), 1_999, CALENDAR),
        payment_from(Payment, view(**WAITING), 2_000, CALENDAR),
    )
    assert (waiting.status, expired.status) == ("requires_confirmation", "expired")
    assert waiting.confirmation is not None
    assert waiting.confirmation == expired.confirmation
    assert waiting.confirmation.sent_to == "+1•••0100"
    assert (waiting.confirmation.attempts_remaining, waiting.confirmation.resends_remaining) == (5, 3)
    assert waiting.confirmation.expires_at == from_ms(2_000)
    for status in ("canceled", "failed"):
        assert payment_from(Payment, view(status=status, **WAITING), 1_999, CALENDAR).confirmation is None
    by_email = view(email="alice@example.com", **WAITING | {"code_method": "email"})
    confirmation = payment_from(Payment, by_email, 0, CALENDAR).confirmation
    assert confirmation is not None
    assert (confirmation.method, confirmation.sent_to) == ("email", "a***@example.com")


def test_a_payment_shows_balances_from_its_debit_on() -> None:
    assert payment_from(Payment, view(**WAITING), 0, CALENDAR).balance_before is None
    debited = payment_from(Payment, view(status="processing", balance="0", paid_at="1500"), 0, CALENDAR)
    assert (debited.balance_before, debited.balance_after) == (700, 0)
    assert (debited.paid_at, debited.settled_at) == (from_ms(1_500), None)


def test_what_is_empty_can_be_left_out_of_a_view_from_the_debit_on_or_from_the_failure_on() -> None:
    waiting = view(**WAITING)
    assert payment_from(Payment, shortened(waiting, WHEN_DEBITED), 0, CALENDAR) == payment_from(
        Payment, waiting, 0, CALENDAR
    )
    settled = view(status="succeeded", paid_at="1500", balance="300", settled_at="1600")
    assert payment_from(Payment, shortened(settled, WHEN_RARE), 0, CALENDAR) == payment_from(
        Payment, settled, 0, CALENDAR
    )


def test_a_payment_shows_its_limit_its_failure_its_refund_and_its_resolution() -> None:
    plain = payment_from(OperatorPayment, view(status="processing"), 0, CALENDAR)
    assert (plain.limits, plain.failure, plain.refunds, plain.refunded_amount) == ([], None, [], 0)
    assert (plain.set_aside, plain.resolution) == (False, None)
    rich = payment_from(
        OperatorPayment,
        view(
            status="failed", global_limit="5000", global_used="700", failure="settlement_failed",
            refunds='[{"at":"1700","amount":"700","reason":"settlement_failed"}]', set_aside="1",
            resolution="refund", resolution_note="", resolution_by="root", resolution_at="1800",
        ),
        0,
        CALENDAR,
    )  # fmt: skip
    (limit,), (refund,) = rich.limits, rich.refunds
    assert (limit.currency, limit.limit, limit.used, limit.remaining) == ("EUR", 5_000, 700, 4_300)
    assert limit.resets_at == from_ms(86_400_000)
    assert rich.failure is not None
    assert rich.failure.code == "settlement_failed"
    assert (refund.amount, refund.at, refund.reason) == (700, from_ms(1_700), "settlement_failed")
    assert (rich.refunded_amount, rich.set_aside) == (700, True)
    assert rich.resolution is not None
    assert (rich.resolution.outcome, rich.resolution.note, rich.resolution.by) == ("refund", "", "root")
    assert rich.resolution.at == from_ms(1_800)


def test_the_refunded_amount_is_the_sum_of_the_refunds() -> None:
    refunds = (
        '[{"at":"1700","amount":"300","reason":"requested_by_operator"},'
        '{"at":"1800","amount":"250","reason":"requested_by_operator"}]'
    )
    payment = payment_from(Payment, view(status="succeeded", refunds=refunds), 0, CALENDAR)
    assert [(refund.amount, refund.at) for refund in payment.refunds] == [
        (300, from_ms(1_700)), (250, from_ms(1_800)),
    ]  # fmt: skip
    assert payment.refunded_amount == 550
    fields = {
        "user": "alice", "amount": "700", "currency": "EUR", "merchant": "Shop", "status": "paid",
        "expires_at": "2000", "created_at": "1000", "refunds": refunds,
    }  # fmt: skip
    invoice = invoice_from(["inv_1", [part for pair in fields.items() for part in pair]], 0)
    assert (invoice.amount, invoice.refunded_amount) == (700, 550)


def test_a_context_names_a_code_and_addresses_only_where_there_are_some() -> None:
    parts = ["pay_1", "alice", "700", "EUR", "Shop"]
    waiting = context_from(
        SEPARATOR.join([*parts, "requires_confirmation", "sms", "2", "0123abcd", "", "+15550100"])
    )
    assert (waiting.payment_id, waiting.user_id) == ("pay_1", "alice")
    assert waiting.terms == PaymentTerms("pay_1", 700, "EUR", "Shop")
    assert (waiting.status, waiting.method, waiting.code_version) == ("requires_confirmation", "sms", 2)
    assert waiting.key_id == "0123abcd"
    assert (waiting.email, waiting.phone) == (None, "+15550100")
    done = context_from(SEPARATOR.join([*parts, "succeeded", "", "", "", "alice@example.com", ""]))
    assert (done.status, done.method, done.code_version, done.email, done.phone) == (
        "succeeded", None, None, "alice@example.com", None,
    )  # fmt: skip


def test_an_entry_is_dated_by_its_id_unless_it_says_otherwise() -> None:
    fields = ["wallet.deposited", "wal_1", "amount", "5", "balance", "7"]
    assert entry_from(["1500-3", fields]).at == from_ms(1_500)
    assert entry_from(["1500-3", [*fields, "at", "1499"]]).at == from_ms(1_499)


def test_a_limit_that_was_lowered_below_what_is_used_has_nothing_left() -> None:
    limit = limit_from(
        {"rule": "global", "window": "day", "currency": "EUR", "limit": "5", "used": "7", "resets_at": "1000"}
    )
    assert limit.remaining == 0


def test_fields_come_in_pairs() -> None:
    assert fields_of(["a", "1", "b", "2"]) == {"a": "1", "b": "2"}
    with pytest.raises(ValueError, match="zip"):
        fields_of(["a"])


def test_an_open_invoice_is_expired_from_its_expiry_on_and_a_void_one_stays_void() -> None:
    fields = {
        "user": "alice", "amount": "9007199254740991", "currency": "EUR", "merchant": "Shop",
        "expires_at": "2000", "created_at": "1",
    }  # fmt: skip
    shown = {}
    for status in ("open", "processing", "paid", "void"):
        flat = [part for pair in (fields | {"status": status}).items() for part in pair]
        shown[status] = [invoice_from(["inv_1", flat], now_ms).status for now_ms in (1_999, 2_000)]
        assert invoice_from(["inv_1", flat], 0).amount == 2**53 - 1
    assert shown == {
        "open": ["open", "expired"], "processing": ["processing"] * 2, "paid": ["paid"] * 2,
        "void": ["void"] * 2,
    }  # fmt: skip


def test_operators_see_the_address_of_a_message_whole() -> None:
    fields = ["user", "alice", "channel", "sms", "kind", "payment.failed", "at", "1000", "last_error", ""]
    message = message_from(["5-1", fields, ["alice@example.com", "+15550100"]], 0x2A)
    assert (message.id, message.event_id) == ("msg_2a5-1", "evt_2a5-1")
    assert (message.to, message.last_error) == ("+15550100", None)
    assert (message.status, message.attempts) == ("sent", 1)
