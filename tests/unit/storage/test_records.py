"""Replies become records: the visible parts of a payment in each state, and the masking of addresses."""

import pytest

from technopay.engine.models import OperatorPayment, Payment
from technopay.engine.record import from_ms
from technopay.storage.business_days import Calendar
from technopay.storage.records import (
    CODE_VIEW,
    CODE_VIEW_AT,
    PAYMENT_VIEW,
    SEPARATOR,
    fields_of,
    invoice_from,
    mask_email,
    mask_phone,
    payment_from,
)

VIEW = [*PAYMENT_VIEW[:CODE_VIEW_AT], *(f"code_{name}" for name in CODE_VIEW), *PAYMENT_VIEW[CODE_VIEW_AT:]]
"""The parts of a view behind the id and the addresses."""

WHEN_DEBITED, WHEN_RARE = VIEW.index("paid_at"), VIEW.index("failure")
"""The first part that may be left out."""

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
    def shown(now_ms: int = 1_999, email: str = "", **parts: str) -> Payment:
        return payment_from(Payment, view(email=email, **WAITING | parts), now_ms, CALENDAR)

    assert [shown(now_ms).status for now_ms in (1_999, 2_000)] == ["requires_confirmation", "expired"]
    confirmation = shown().confirmation
    assert confirmation is not None
    assert shown(2_000).confirmation == confirmation
    assert (confirmation.sent_to, confirmation.expires_at) == ("+1•••0100", from_ms(2_000))
    assert (confirmation.attempts_remaining, confirmation.resends_remaining) == (5, 3)
    assert [shown(status=status).confirmation for status in ("canceled", "failed")] == [None, None]
    confirmation = shown(email="alice@example.com", code_method="email").confirmation
    assert confirmation is not None
    assert (confirmation.method, confirmation.sent_to) == ("email", "a***@example.com")


def test_empty_parts_of_a_view_can_be_left_out_from_the_debit_on_or_from_the_failure_on() -> None:
    settled = view(status="succeeded", paid_at="1500", balance="300", settled_at="1600")
    for whole, parts in ((view(**WAITING), WHEN_DEBITED), (settled, WHEN_RARE)):
        short = SEPARATOR.join(whole.split(SEPARATOR)[: 3 + parts])
        assert payment_from(Payment, short, 0, CALENDAR) == payment_from(Payment, whole, 0, CALENDAR)


def test_a_payment_shows_its_limit_its_failure_its_refund_and_its_resolution() -> None:
    plain = payment_from(OperatorPayment, view(status="processing"), 0, CALENDAR)
    assert (plain.limits, plain.failure, plain.refunds, plain.refunded_amount) == ([], None, [], 0)
    assert (plain.set_aside, plain.resolution) == (False, None)
    rich = payment_from(
        OperatorPayment,
        view(
            status="failed", global_limit="5000", global_used="700", failure="settlement_failed",
            refunds='[{"at":"1700","amount":"700"}]', set_aside="1",
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
    refunds = '[{"at":"1700","amount":"300"},{"at":"1800","amount":"250"}]'
    payment = payment_from(Payment, view(status="succeeded", refunds=refunds), 0, CALENDAR)
    assert [(refund.amount, refund.at, refund.reason) for refund in payment.refunds] == [
        (300, from_ms(1_700), "requested_by_operator"), (250, from_ms(1_800), "requested_by_operator"),
    ]  # fmt: skip
    assert payment.refunded_amount == 550
    fields = {
        "user": "alice", "amount": "700", "currency": "EUR", "merchant": "Shop", "status": "paid",
        "expires_at": "2000", "created_at": "1000", "refunds": refunds,
    }  # fmt: skip
    invoice = invoice_from(["inv_1", [part for pair in fields.items() for part in pair]], 0)
    assert (invoice.amount, invoice.refunded_amount) == (700, 550)


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
