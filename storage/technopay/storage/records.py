"""Builds the engine's records from the replies of scripts."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast, get_args

from technopay.engine.limits import LIMIT_RULES
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
    Resolution,
    Subject,
    User,
    Wallet,
)
from technopay.engine.record import from_ms
from technopay.engine.values import NotificationContext
from technopay.engine.verifiers.code_keys import CodeState, keep_code_state
from technopay.storage.business_days import Calendar
from technopay.storage.refunds import refunded_amount, refunds_from

PaymentT = TypeVar("PaymentT", bound=Payment)

Fields = dict[str, str]

SEPARATOR = "\x1f"
"""Between the parts of a packed value; it is a list if a text holds the separator, see shared/pack.lua."""
Packed = str | Sequence[str]

UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError)
"""The errors of building a record from invalid data."""
UNREADABLE_TEXT = "cannot be read"
"""The end of the last error of an unreadable message, see take_due.lua and the relay."""
PAYMENT_STATUSES = frozenset(get_args(PaymentStatus))
INVOICE_STATUSES = frozenset(get_args(InvoiceStatus))
STATUSES = frozenset({"active", "blocked", "inactive"})
METHODS = frozenset(get_args(Method))
MESSAGE_STATUSES = frozenset({"sent", "waiting", "dead"})

LIMIT_FIELDS = tuple(name for rule in LIMIT_RULES for name in rule.fields)
PAYMENT_VIEW = (
    "invoice", "wallet", "user", "amount", "currency", "merchant", "status", "created_at",
    *LIMIT_FIELDS,
    "paid_at", "balance", "settled_at", "failure", "refunds", "set_aside",
    "resolution", "resolution_note", "resolution_by", "resolution_at", "metadata",
)  # fmt: skip
"""The fields of a payment in a view, in this order, after its id and its user's addresses."""
CODE_VIEW = ("method", "version", "attempts", "resends", "expires_at", "key")
"""The fields of its code, after the limits."""
CODE_VIEW_AT = PAYMENT_VIEW.index("paid_at")
WAITED = ("requires_confirmation", "expired", "canceled")
"""The statuses of payments that have a code."""

FAILURES = {
    "too_many_attempts": "Too many wrong codes.",
    "settlement_failed": "The payment could not be settled. The amount is back in the wallet.",
}
ENTRY_KINDS = {
    "wallet.deposited": "deposit",
    "wallet.withdrawn": "withdrawal",
    "wallet.adjusted": "adjustment",
    "payment.processing": "payment",
    "payment.failed": "refund",
    "payment.refunded": "refund",
    "payment.partially_refunded": "refund",
}
"""The kinds of entries, by the type of the journal entry."""


def fields_of(flat: Sequence[str]) -> Fields:
    """Turn [name, value, name, value …] into a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def unpack(packed: Packed) -> Sequence[str]:
    """Return the parts of a packed value."""
    return packed.split(SEPARATOR) if isinstance(packed, str) else packed


def id_of(reply: Any) -> str:
    """Return the id of a record in a reply: its first part."""
    return str((unpack(reply) or [""])[0])


def one_of(names: frozenset[str], name: str) -> Any:
    """Return a name that is one of these.

    Raises:
        ValueError: it is not.

    """
    if name not in names:
        raise ValueError("there is no such name")
    return name


def _at(value: str | None) -> Any:
    return None if value is None else from_ms(value)


def user_from(reply: Sequence[Any]) -> User:
    """Build a user from {id, fields}."""
    fields = fields_of(reply[1])
    return User.trusted(
        id=reply[0],
        status=one_of(STATUSES, fields["status"]),
        email=fields.get("email"),
        phone=fields.get("phone"),
        locked_until=_at(fields.get("locked_until")),
        created_at=from_ms(fields["created_at"]),
    )


def wallet_from(reply: Sequence[Any]) -> Wallet:
    """Build a wallet from {id, fields}."""
    fields = fields_of(reply[1])
    return Wallet.trusted(
        id=reply[0],
        user_id=fields["user"],
        currency=fields["currency"],
        balance=int(fields["balance"]),
        status=one_of(STATUSES, fields["status"]),
        created_at=from_ms(fields["created_at"]),
    )


def invoice_from(reply: Sequence[Any], now_ms: int) -> Invoice:
    """Build an invoice from {id, fields}; an open one past its expiry is expired."""
    fields = fields_of(reply[1])
    status = fields["status"]
    if status == "open" and now_ms >= int(fields["expires_at"]):
        status = "expired"
    paid = status == "paid"
    return Invoice.trusted(
        id=reply[0],
        user_id=fields["user"],
        amount=int(fields["amount"]),
        currency=fields["currency"],
        merchant=fields["merchant"],
        description=fields.get("description"),
        reference=fields.get("reference"),
        status=one_of(INVOICE_STATUSES, status),
        refunded_amount=refunded_amount(refunds_from(fields.get("refunds"), "", fields.get("payment", ""))),
        expires_at=from_ms(fields["expires_at"]),
        paid_at=_at(fields.get("paid_at")) if paid else None,
        payment_id=fields.get("payment") if paid else None,
        created_at=from_ms(fields["created_at"]),
        metadata=_metadata_from(fields.get("metadata")),
    )


def limit_from(fields: Fields) -> Limit:
    """Build a limit; one without `limit` is lifted."""
    limit = int(fields["limit"]) if fields.get("limit") else None
    resets_at = from_ms(fields["resets_at"])
    used, pending = int(fields["used"]), "pending" in fields
    return _limit(fields["rule"], fields["window"], fields["currency"], limit, used, resets_at, pending=pending)


def _limit(
    rule: str,
    window: str,
    currency: str,
    limit: int | None,
    used: int,
    resets_at: datetime,
    *,
    pending: bool = False,
) -> Limit:
    return Limit.trusted(
        rule=rule,
        window=window,
        currency=currency,
        limit=limit,
        used=used,
        remaining=None if limit is None else max(limit - used, 0),
        resets_at=resets_at,
        pending=pending,
    )


def with_used(limit: Limit, used: int) -> Limit:
    """Return a limit with another used amount."""
    kept = (limit.rule, limit.window, limit.currency, limit.limit)
    return _limit(*kept, used, limit.resets_at, pending=limit.pending)


def payment_from(payment_type: type[PaymentT], view: Packed, now_ms: int, calendar: Calendar) -> PaymentT:
    """Build a payment from a view, see shared/payment.lua; one whose code has expired is expired."""
    (
        payment_id, email, phone, invoice_id, wallet_id, user_id, amount_text, currency, merchant, status,
        created_at, *later,
    ) = _current_form(unpack(view))  # fmt: skip
    counters, later = later[: len(LIMIT_FIELDS)], later[len(LIMIT_FIELDS) :]
    method, version, attempts, resends, expires_at, key_id, *later = later
    paid_at, balance_after, settled_at, failure, listed, set_aside, *resolution, metadata = (
        *later,
        *[""] * (11 - len(later)),
    )
    amount, confirmation, code = int(amount_text), None, None
    if status in ("requires_confirmation", "expired"):
        code = CodeState(key_id, int(version), int(version) + int(resends))
        if now_ms >= int(expires_at):
            status = "expired"
        confirmation = Confirmation.trusted(
            method=method,
            sent_to=mask_email(email) if method == "email" else mask_phone(phone),
            expires_at=from_ms(expires_at),
            attempts_remaining=int(attempts),
            resends_remaining=int(resends),
        )
    refunds = refunds_from(listed, failure, payment_id)
    more = {} if payment_type is Payment else {"resolution": _resolution_from(*resolution)}
    payment = payment_type.trusted(
        id=payment_id,
        invoice_id=invoice_id,
        wallet_id=wallet_id,
        user_id=user_id,
        amount=amount,
        currency=currency,
        merchant=merchant,
        status=one_of(PAYMENT_STATUSES, status),
        created_at=from_ms(created_at),
        paid_at=from_ms(paid_at) if paid_at else None,
        settled_at=from_ms(settled_at) if settled_at else None,
        balance_before=int(balance_after) + amount if balance_after else None,
        balance_after=int(balance_after) if balance_after else None,
        confirmation=confirmation,
        failure=Failure.trusted(code=failure, message=FAILURES[failure]) if failure else None,
        refunded_amount=refunded_amount(refunds),
        refunds=refunds,
        limits=_limits_from(tuple(counters), currency, calendar),
        set_aside=set_aside == "1",
        metadata=_metadata_from(metadata),
        **more,
    )
    if code:
        keep_code_state(payment, code)
    return payment


def _current_form(parts: Sequence[str]) -> Sequence[str]:
    """Return a view in its present form.

    Recorded replies of schema 5 pack limit and code by position, and have the time of the one refund.
    """
    if len(parts) < 13 or not parts[11][:1].isdigit():
        return parts
    # There, the time of the debit follows an empty code; here, an empty used amount follows an empty limit.
    is_packed = " " in parts[12] or (not parts[12] and any(parts[13:14]))
    if not is_packed:
        return parts
    method, version, attempts, resends, expires_at, _, _, key_id = (*parts[12].split(" "), *[""] * 8)[:8]
    counter = (*parts[11].split(" "), "", "")[:3]
    code = method, version, attempts, resends, expires_at, key_id
    *money, refunded_at, _ = [*parts[13:19], *[""] * 6][:6]
    refunds = json.dumps([{"amount": parts[6], "at": refunded_at}]) if refunded_at else ""
    return [*parts[:11], *counter, *code, *money, refunds, *parts[19:]]


def _limits_from(counters: tuple[str, ...], currency: str, calendar: Calendar) -> list[Limit]:
    """Build the limits as they were at the start, or at the debit with the payment's own amount."""
    limits = []
    for rule, period, limit, used in zip(
        LIMIT_RULES, counters[::3], counters[1::3], counters[2::3], strict=True
    ):
        if limit:
            resets_at = from_ms(calendar.ends_at_ms(rule.window, period))
            limits.append(_limit(rule.name, rule.window, currency, int(limit), int(used), resets_at))
    return limits


def _metadata_from(packed: str | None) -> dict[str, str]:
    metadata = json.loads(packed) if packed else {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata are texts")
    return metadata


def _resolution_from(outcome: str, note: str, by: str, at: str) -> Resolution | None:
    if not outcome:
        return None
    return Resolution.trusted(outcome=outcome, note=note, by=by, at=from_ms(at))


SUBJECTS: Mapping[str, Callable[[Any, int, Calendar], Subject]] = {
    "payment": lambda view, now_ms, calendar: payment_from(Payment, view, now_ms, calendar),
    "invoice": lambda record, now_ms, _: invoice_from(record, now_ms),
    "wallet": lambda record, *_: wallet_from(record),
}
"""Build the records that have events, by kind; ids begin with the first three letters of it."""


def context_from(packed: Packed) -> NotificationContext:
    """Build the context of a message, see shared/message.lua."""
    (
        payment_id, user_id, amount, currency, merchant, status, method, version, key_id, email, phone
    ) = unpack(packed)  # fmt: skip
    return NotificationContext(
        payment_id=payment_id,
        user_id=user_id,
        amount=int(amount),
        currency=currency,
        merchant=merchant,
        status=status,
        method=cast("Method", method) if method else None,
        code_version=int(version) if version else None,
        key_id=key_id,
        email=email or None,
        phone=phone or None,
    )


def readable_context_from(packed: Packed) -> NotificationContext | None:
    """Build a context, None for a payment that is gone; of an unreadable one, only the ids are known."""
    if not packed:
        return None
    try:
        return context_from(packed)
    except UNREADABLE:
        payment_id, user_id, *_ = *unpack(packed), ""
        return NotificationContext(payment_id, user_id, 0, "", "", "unreadable", None, None, "", None, None)


def entry_from(reply: Sequence[Any]) -> Entry:
    """Build a wallet's entry from {journal id, {type, subject, name, value, ...}}."""
    entry_type, subject, *flat = reply[1]
    fields = fields_of(flat)
    return Entry.trusted(
        amount=int(fields["amount"]),
        balance_after=int(fields["balance"]),
        kind=ENTRY_KINDS[entry_type],
        payment_id=None if entry_type.startswith("wallet.") else subject,
        refund_id=fields.get("refund"),
        reference=fields.get("reference"),
        note=fields.get("note"),
        by=fields.get("by"),
        # If the clock had gone back, the field `at` has the time instead of the id.
        at=from_ms(fields.get("at") or reply[0].split("-")[0]),
    )


def message_from(reply: Sequence[Any], partition: int) -> Message:
    """Build a message from {journal id, fields, {email, phone}}; operators see the address whole."""
    fields = fields_of(reply[1])
    channel = one_of(METHODS, fields["channel"])
    return Message.trusted(
        id=f"msg_{partition:02x}{reply[0]}",
        event_id=f"evt_{partition:02x}{reply[0]}",
        user_id=fields["user"],
        channel=channel,
        to=fields.get("to") or (reply[2][0] if channel == "email" else reply[2][1]) or "",
        kind=fields["kind"],
        status=one_of(MESSAGE_STATUSES, fields.get("status", "sent")),
        attempts=int(fields.get("attempts", "1")),
        last_error=fields.get("last_error") or None,
        at=from_ms(fields["at"]),
    )


def unreadable_message(reply: Sequence[Any], partition: int) -> Message:
    """Build an unreadable message, which is never sent, for operators."""
    fields = dict(zip(reply[1][::2], reply[1][1::2], strict=False))
    return Message.trusted(
        id=f"msg_{partition:02x}{reply[0]}",
        event_id=f"evt_{partition:02x}{reply[0]}",
        user_id=fields.get("user", ""),
        channel="email",
        to="",
        kind=fields.get("kind", ""),
        status="dead",
        attempts=0,
        last_error=f"the record {UNREADABLE_TEXT}",
        at=from_ms(reply[0].split("-")[0]),
    )


def mask_email(email: str) -> str:
    """Mask an e-mail address: alice@example.com is a***@example.com."""
    name, at, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}" if at else "***"


def mask_phone(phone: str) -> str:
    """Mask a phone number: +15550100 is +1•••0100."""
    return f"{phone[:2]}•••{phone[-4:] if len(phone) > 7 else phone[-2:]}"
