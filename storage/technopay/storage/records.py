"""Turns the replies of scripts into the engine's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from technopay.engine.models import (
    Confirmation,
    Entry,
    Failure,
    Invoice,
    InvoiceStatus,
    Limit,
    Message,
    Method,
    Payment,
    PaymentStatus,
    Refund,
    Resolution,
    User,
    Wallet,
    from_ms,
)
from technopay.engine.ports import JournalEntry, Parcel
from technopay.storage.keys import PARTITION

Fields = dict[str, str]

FAILURES = {
    "too_many_attempts": "Too many wrong codes.",
    "settlement_failed": "The payment could not be settled. The amount is back in the wallet.",
}
ENTRY_KINDS = {
    "wallet.deposited": "deposit",
    "payment.processing": "payment",
    "payment.failed": "refund",
    "payment.refunded": "refund",
}


def fields_of(flat: Sequence[str]) -> Fields:
    """Turn [name, value, name, value …] into a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _at(value: str | None) -> Any:
    return None if value is None else from_ms(value)


def user_from(reply: Sequence[Any]) -> User:
    """Build a user from {id, fields}."""
    fields = fields_of(reply[1])
    return User.model_construct(
        id=reply[0],
        status=cast("Any", fields["status"]),
        email=fields.get("email"),
        phone=fields.get("phone"),
        created_at=from_ms(fields["created_at"]),
    )


def wallet_from(reply: Sequence[Any]) -> Wallet:
    """Build a wallet from {id, fields}."""
    fields = fields_of(reply[1])
    return Wallet.model_construct(
        id=reply[0],
        user_id=fields["user"],
        currency=fields["currency"],
        balance=int(fields["balance"]),
        status=cast("Any", fields["status"]),
        created_at=from_ms(fields["created_at"]),
    )


def invoice_from(reply: Sequence[Any], now_ms: int) -> Invoice:
    """Build an invoice from {id, fields}; an open one past its expiry is expired."""
    fields = fields_of(reply[1])
    status = fields["status"]
    if status == "open" and now_ms >= int(fields["expires_at"]):
        status = "expired"
    paid = status == "paid"
    return Invoice.model_construct(
        id=reply[0],
        user_id=fields["user"],
        amount=int(fields["amount"]),
        currency=fields["currency"],
        merchant=fields["merchant"],
        description=fields.get("description"),
        reference=fields.get("reference"),
        status=cast("InvoiceStatus", status),
        refunded_amount=int(fields.get("refunded", "0")),
        expires_at=from_ms(fields["expires_at"]),
        paid_at=_at(fields.get("paid_at")) if paid else None,
        payment_id=fields.get("payment") if paid else None,
        created_at=from_ms(fields["created_at"]),
    )


def limit_from(fields: Fields) -> Limit:
    """Build a limit; one without `limit` is lifted."""
    limit = int(fields["limit"]) if fields.get("limit") else None
    used = int(fields["used"])
    return Limit.model_construct(
        rule="global",
        window="day",
        currency=fields["currency"],
        limit=limit,
        used=used,
        remaining=None if limit is None else max(limit - used, 0),
        resets_at=from_ms(fields["resets_at"]),
    )


def payment_from(view: Sequence[Any], now_ms: int) -> Payment:
    """Build a payment from a view; one that waits for its code past the expiry is expired."""
    payment_id, flat, (user_id, amount_text, currency, merchant), addresses = view
    fields = fields_of(flat)
    amount = int(amount_text)
    status = fields["status"]
    if status == "requires_confirmation" and now_ms >= int(fields["expires_at"]):
        status = "expired"
    after = fields.get("balance_after")
    refunds = _refunds_from(fields, amount)
    return Payment.model_construct(
        id=payment_id,
        invoice_id=fields["invoice"],
        wallet_id=fields["wallet"],
        user_id=user_id,
        amount=amount,
        currency=currency,
        merchant=merchant,
        status=cast("PaymentStatus", status),
        created_at=from_ms(fields["created_at"]),
        paid_at=_at(fields.get("paid_at")),
        settled_at=_at(fields.get("settled_at")),
        balance_before=None if after is None else int(after) + amount,
        balance_after=None if after is None else int(after),
        confirmation=_confirmation_from(fields, status, addresses),
        failure=_failure_from(fields),
        refunded_amount=sum(refund.amount for refund in refunds),
        refunds=refunds,
        limits=[limit_from({**fields, "currency": currency})] if "limit" in fields else [],
        set_aside=fields.get("set_aside") == "1",
        resolution=_resolution_from(fields),
    )


def _confirmation_from(fields: Fields, status: str, addresses: Sequence[str]) -> Confirmation | None:
    if status not in ("requires_confirmation", "expired"):
        return None
    method = cast("Method", fields["method"])
    return Confirmation.model_construct(
        method=method,
        sent_to=mask_email(addresses[0]) if method == "email" else mask_phone(addresses[1]),
        expires_at=from_ms(fields["expires_at"]),
        attempts_remaining=int(fields["attempts_remaining"]),
        resends_remaining=int(fields["resends_remaining"]),
    )


def _failure_from(fields: Fields) -> Failure | None:
    code = fields.get("failure")
    return Failure.model_construct(code=cast("Any", code), message=FAILURES[code]) if code else None


def _refunds_from(fields: Fields, amount: int) -> list[Refund]:
    at = fields.get("refunded_at")
    if at is None:
        return []
    return [Refund.model_construct(amount=amount, at=from_ms(at), reason=cast("Any", fields["refund_reason"]))]


def _resolution_from(fields: Fields) -> Resolution | None:
    if "resolution" not in fields:
        return None
    return Resolution.model_construct(
        outcome=cast("Any", fields["resolution"]),
        note=fields["resolution_note"],
        by=fields["resolution_by"],
        at=from_ms(fields["resolution_at"]),
    )


def parcel_from(view: Sequence[Any], now_ms: int) -> Parcel:
    """Build what is needed to tell the user of a payment."""
    issue = fields_of(view[1]).get("issue")
    return Parcel(
        payment=payment_from(view, now_ms),
        email=view[3][0] or None,
        phone=view[3][1] or None,
        issue=int(issue) if issue else None,
    )


def journal_entry_from(reply: Sequence[Any]) -> JournalEntry:
    """Build a journal entry from {id, fields}."""
    fields = fields_of(reply[1])
    return JournalEntry(reply[0], fields["type"], fields)


def entry_from(reply: Sequence[Any]) -> Entry:
    """Build a wallet's entry from {journal id, fields}."""
    fields = fields_of(reply[1])
    return Entry.model_construct(
        amount=int(fields["amount"]),
        balance_after=int(fields["balance"]),
        kind=cast("Any", ENTRY_KINDS[fields["type"]]),
        payment_id=fields.get("payment"),
        at=from_ms(fields["at"]),
    )


def message_from(reply: Sequence[Any]) -> Message:
    """Build a message from {journal id, fields, {email, phone}}; operators see the address whole."""
    fields = fields_of(reply[1])
    channel = cast("Method", fields["channel"])
    return Message.model_construct(
        id=f"msg_{PARTITION}{reply[0]}",
        event_id=f"evt_{PARTITION}{reply[0]}",
        user_id=fields["user"],
        channel=channel,
        to=reply[2][0] if channel == "email" else reply[2][1],
        kind=fields["kind"],
        status=cast("Any", fields.get("status", "sent")),
        attempts=int(fields.get("attempts", "1")),
        last_error=fields.get("last_error") or None,
        at=from_ms(fields["at"]),
    )


def mask_email(email: str) -> str:
    """Show of an e-mail address what its owner needs to know it: alice@example.com is a***@example.com."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}"


def mask_phone(phone: str) -> str:
    """Show of a phone number what its owner needs to know it: +15550100 is +1•••0100."""
    return f"{phone[:2]}•••{phone[-4:] if len(phone) > 7 else phone[-2:]}"
