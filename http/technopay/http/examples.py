"""Examples for the document. They are records and errors like any other, so they cannot be of a wrong form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from technopay.engine import (
    Audit,
    Entry,
    FieldError,
    Invoice,
    Limit,
    Message,
    Payment,
    TechnopayError,
    User,
    ValidationFailed,
    Wallet,
)
from technopay.engine.errors import REFUSALS, Fault
from technopay.engine.models import Checked, Confirmation, Failure, Refund, Resolution
from technopay.http.mocks import DeliveredMessage, Inbox, Token
from technopay.http.open_routes import Health
from technopay.http.problems import PROBLEMS, RequestError
from technopay.http.render import problem_json

IDS: Mapping[str, str] = {
    "user_id": "alice",
    "wallet_id": "wal_0006p4ssQ5NQk4YtYxP0p7VC",
    "invoice_id": "inv_0006p4ssQ5RFh8aTqkZ2nD4L",
    "payment_id": "pay_0006p4ssR02Wj6Xb1vC9mE7H",
    "message_id": "msg_0006p4ssR03Ld5fG8wQ1sK3N",
    "currency": "EUR",
}
"""What stands for the parameters of paths."""

REQUEST_ID = "9f3c5e0d7a21b846"
AT = datetime(2036, 1, 2, 9, 30, tzinfo=UTC)
CODE_LIFETIME = timedelta(minutes=5)
PAID_AFTER, SETTLED_AFTER = timedelta(seconds=41, milliseconds=120), timedelta(seconds=41, milliseconds=385)
AMOUNT, BALANCE = 1_250, 48_750

USER = User(
    id="alice",
    status="active",
    email="alice@example.com",
    phone="+15550100",
    locked_until=None,
    created_at=AT - timedelta(days=30),
)
WALLET = Wallet(
    id=IDS["wallet_id"], user_id="alice", currency="EUR", balance=BALANCE, status="active",
    created_at=AT - timedelta(days=30),
)  # fmt: skip
INVOICE = Invoice(
    id=IDS["invoice_id"], user_id="alice", amount=AMOUNT, currency="EUR", merchant="Bookshop",
    description="Two paperbacks", reference="order-4711", status="open", refunded_amount=0,
    expires_at=AT + timedelta(days=7), paid_at=None, payment_id=None, created_at=AT - timedelta(hours=2),
)  # fmt: skip
LIMIT = Limit(
    currency="EUR",
    limit=30_000,
    used=11_250,
    remaining=18_750,
    resets_at=AT.replace(hour=0, minute=0) + timedelta(1),
)
ENTRY = Entry(
    amount=-AMOUNT,
    balance_after=BALANCE - AMOUNT,
    kind="payment",
    payment_id=IDS["payment_id"],
    at=AT + PAID_AFTER,
)
MESSAGE = Message(
    id=IDS["message_id"], event_id="evt_002087112641120-0", user_id="alice", channel="email",
    to="dead@example.com", kind="payment.succeeded", status="dead", attempts=5,
    last_error="the address takes no message", at=AT + PAID_AFTER,
)  # fmt: skip
AUDIT = Audit(
    clean=True,
    checked=Checked(
        entries=5_120, users=40, wallets=44, invoices=1_310, payments=1_502, limits=3, messages=2_870
    ),
    differences=[],
)
INBOX = Inbox(
    data=[
        DeliveredMessage(
            channel="email", to="alice@example.com", kind="confirmation.code",
            text="123456 is your code to pay 12.50 EUR to Bookshop. Give it to nobody.",
            payment_id=IDS["payment_id"], event_id="evt_002087112600000-0", at=AT, code="123456",
        )
    ]
)  # fmt: skip
CONFIRMATION = Confirmation(
    method="email", sent_to="a***@example.com", expires_at=AT + CODE_LIFETIME, attempts_remaining=5,
    resends_remaining=3,
)  # fmt: skip
PAYMENT = Payment(
    id=IDS["payment_id"], invoice_id=INVOICE.id, wallet_id=WALLET.id, user_id="alice", amount=AMOUNT,
    currency="EUR", merchant="Bookshop", status="requires_confirmation", created_at=AT, paid_at=None,
    settled_at=None, balance_before=None, balance_after=None, confirmation=CONFIRMATION, failure=None,
    refunded_amount=0, refunds=[], limits=[LIMIT], set_aside=False,
)  # fmt: skip


def _later(payment: Payment, **changes: Any) -> Payment:
    return payment.model_copy(update=changes)


CANCELED = _later(PAYMENT, status="canceled", confirmation=None)
EXPIRED = _later(PAYMENT, status="expired")
PROCESSING = _later(
    PAYMENT, status="processing", confirmation=None, paid_at=AT + PAID_AFTER, balance_before=BALANCE,
    balance_after=BALANCE - AMOUNT,
)  # fmt: skip
SUCCEEDED = _later(PROCESSING, status="succeeded", settled_at=AT + SETTLED_AFTER)
FAILED = _later(
    PROCESSING,
    status="failed",
    failure=Failure(code="settlement_failed", message="The payment could not be settled."),
    refunded_amount=AMOUNT,
    refunds=[Refund(amount=AMOUNT, at=AT + SETTLED_AFTER, reason="settlement_failed")],
)
REFUNDED = _later(
    SUCCEEDED,
    status="refunded",
    refunded_amount=AMOUNT,
    refunds=[Refund(amount=AMOUNT, at=AT + timedelta(days=1), reason="requested_by_operator")],
)
RESOLVED = _later(
    SUCCEEDED,
    resolution=Resolution(outcome="settled", note="Seen on the statement of 3 January", by="olga", at=AT),
)

RECORDS: Mapping[type[BaseModel], BaseModel] = {
    type(record): record
    for record in (
        USER, WALLET, INVOICE, LIMIT, ENTRY, MESSAGE, AUDIT, SUCCEEDED, INBOX, Health(status="ok"),
        Token(token="eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZW1vLWFsaWNlIn0.c2lnbmF0dXJl"),  # noqa: S106
    )
}  # fmt: skip
"""What is answered, by what it is."""

ANSWERS: Mapping[tuple[str, int], BaseModel] = {
    ("startPayment", 201): PAYMENT,
    ("confirmPayment", 202): PROCESSING,
    ("resendCode", 200): _later(PAYMENT, confirmation=CONFIRMATION.model_copy(update={"resends_remaining": 2})),
    ("cancelPayment", 200): CANCELED,
    ("refundPayment", 200): REFUNDED,
    ("resolvePayment", 200): RESOLVED,
    ("blockUser", 200): USER.model_copy(update={"status": "blocked"}),
    ("deactivateWallet", 200): WALLET.model_copy(update={"status": "inactive"}),
    ("voidInvoice", 200): INVOICE.model_copy(update={"status": "void"}),
    ("readyz", 503): Health(status="store_unavailable"),
    ("createWallet", 201): WALLET.model_copy(update={"balance": 0}),
}
"""What single operations answer with their statuses, where that is something else."""

HELPFUL: Mapping[str, Mapping[str, Any]] = {
    "insufficient_funds": {"required": AMOUNT, "available": 100},
    "daily_limit_exceeded": {
        "limit": LIMIT.model_copy(update={"used": 29_000, "remaining": 1_000})},
    "settlement_failed": {"payment": FAILED},
    "reference_used": {"invoice_id": INVOICE.id},
    "payment_in_progress": {"payment": PROCESSING},
    "payment_not_confirmable": {"payment": CANCELED},
    "payment_not_cancelable": {"payment": SUCCEEDED},
    "payment_not_refundable": {"payment": PROCESSING},
    "payment_not_resolvable": {"payment": PROCESSING},
    "confirmation_expired": {"payment": EXPIRED},
    "confirmation_invalid": {"attempts_remaining": 4, "payment": PAYMENT},
    "rate_limited": {"retry_after_s": 30},
}  # fmt: skip
"""What refusals carry."""


def problem_examples() -> dict[str, dict[str, Any]]:
    """Answer a whole problem for every code, rendered as it would be answered."""
    refusals = {
        cls.code: cls(**HELPFUL.get(cls.code, {})) for cls in REFUSALS.values() if cls is not ValidationFailed
    }
    others = {cls.code: cls() for root in (Fault, RequestError) for cls in root.__subclasses__()}
    field_error = FieldError("amount", "Input should be greater than or equal to 1")
    errors: dict[str, TechnopayError] = {
        **refusals,
        **others,
        "validation_failed": ValidationFailed([field_error]),
    }
    return {code: problem_json(errors[code], REQUEST_ID, operator=False) for code in sorted(PROBLEMS)}
