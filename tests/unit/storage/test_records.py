"""Replies become records: what is shown of a payment in each state, and how addresses are masked."""

from __future__ import annotations

from typing import Any

import pytest

from technopay.storage.base import Reply, outcome_of
from technopay.storage.records import (
    fields_of,
    invoice_from,
    limit_from,
    mask_email,
    mask_phone,
    message_from,
    payment_from,
)


def view(**fields: str) -> list[Any]:
    basic = {
        "invoice": "inv_1", "wallet": "wal_1", "status": "requires_confirmation", "created_at": "1000",
        "method": "sms", "expires_at": "2000", "attempts_remaining": "5", "resends_remaining": "3",
    } | fields  # fmt: skip
    flat = [part for pair in basic.items() for part in pair]
    return ["pay_1", flat, ["alice", "700", "EUR", "Shop"], ["", "+15550100"]]


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("alice@example.com", "a***@example.com"),
        ("a@b.example", "a***@b.example"),
        ('"a@b"@example.com', '"***@example.com'),
        ("", "***@"),
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
    waiting, expired = payment_from(view(), 1_999), payment_from(view(), 2_000)
    assert (waiting.status, expired.status) == ("requires_confirmation", "expired")
    assert waiting.confirmation is not None
    assert waiting.confirmation == expired.confirmation
    assert waiting.confirmation.sent_to == "+1•••0100"
    for status in ("canceled", "failed"):
        assert payment_from(view(status=status), 1_999).confirmation is None


def test_a_payment_shows_balances_from_its_debit_on() -> None:
    assert payment_from(view(), 0).balance_before is None
    debited = payment_from(view(status="processing", balance_after="300", paid_at="1500"), 0)
    assert (debited.balance_before, debited.balance_after) == (1_000, 300)


def test_a_replayed_reply_is_as_good_as_a_fresh_one_but_brings_no_token() -> None:
    record = ["inv_1", ["a", "b"]]
    fresh = outcome_of(Reply("ok", 1, "7", [record]), lambda value: value[0])
    replayed = outcome_of(Reply("replayed", 1, "7", [record]), lambda value: value[0])
    assert (fresh.code, fresh.value, fresh.token, fresh.replayed) == ("ok", "inv_1", "7", False)
    assert (replayed.code, replayed.value, replayed.token, replayed.replayed) == ("ok", "inv_1", "", True)


def test_a_limit_that_was_lowered_below_what_is_used_has_nothing_left() -> None:
    limit = limit_from({"currency": "EUR", "limit": "5", "used": "7", "resets_at": "1000"})
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
    for status in ("open", "processing", "void"):
        flat = [part for pair in (fields | {"status": status}).items() for part in pair]
        shown[status] = [invoice_from(["inv_1", flat], now_ms).status for now_ms in (1_999, 2_000)]
        assert invoice_from(["inv_1", flat], 0).amount == 2**53 - 1
    assert shown == {
        "open": ["open", "expired"], "processing": ["processing"] * 2, "void": ["void"] * 2,
    }  # fmt: skip


def test_operators_see_the_address_of_a_message_whole() -> None:
    fields = ["user", "alice", "channel", "sms", "kind", "payment.failed", "at", "1000", "last_error", ""]
    message = message_from(["5-1", fields, ["alice@example.com", "+15550100"]])
    assert (message.to, message.last_error) == ("+15550100", None)
    assert (message.status, message.attempts) == ("sent", 1)
