"""What the engine answers with: frozen records, amounts in minor units, times in UTC.

The JSON form of each (`model_dump_json`) is the form that HTTP clients see.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PrivateAttr, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_ms(at_ms: int | str) -> datetime:
    """Turn Unix milliseconds into a time in UTC, exactly."""
    seconds, milliseconds = divmod(int(at_ms), 1000)
    return EPOCH + timedelta(0, seconds, milliseconds * 1000)


def to_ms(at: datetime) -> int:
    """Turn a time into Unix milliseconds, exactly; what is finer is cut off."""
    return int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000


def rfc3339(at: datetime) -> str:
    """Write a time as RFC 3339, in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time in UTC; in JSON as RFC 3339 with milliseconds."""

Currency = Annotated[str, Field(description="ISO 4217 code")]

PaymentStatus = Literal[
    "requires_confirmation", "processing", "succeeded", "failed", "canceled", "expired", "refunding", "refunded"
]
InvoiceStatus = Literal["open", "processing", "paid", "expired", "void"]
Method = Literal["email", "sms"]

PaymentEventType = Literal[
    "payment.started", "payment.code_resent", "payment.refused", "payment.processing", "payment.succeeded",
    "payment.failed", "payment.canceled", "payment.expired", "payment.refunding", "payment.refunded",
    "payment.set_aside", "payment.resolved",
]  # fmt: skip
InvoiceEventType = Literal["invoice.created", "invoice.voided"]
EventType = PaymentEventType | InvoiceEventType

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "expired", "refunded"})


class Record(BaseModel):
    """The base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    _replayed: bool = PrivateAttr(default=False)

    @classmethod
    def trusted(cls, **values: Any) -> Self:
        """Build a record from values that are right already, all of them, in a fraction of the time.

        This is what pydantic's `model_construct` does, without looking for defaults and aliases.
        """
        record = cls.__new__(cls)
        set_attribute = object.__setattr__
        set_attribute(record, "__dict__", values)
        set_attribute(record, "__pydantic_fields_set__", _field_names(cls))
        set_attribute(record, "__pydantic_extra__", None)
        set_attribute(record, "__pydantic_private__", {"_replayed": False})
        return record

    @property
    def replayed(self) -> bool:
        """Whether this is the answer that an earlier call got, given again."""
        return self._replayed

    def as_replay(self) -> Self:
        """Answer a copy that is marked as an answer given again: the record itself may be shared."""
        again = self.model_copy()
        again._replayed = True  # noqa: SLF001
        return again


@cache
def _field_names(record_type: type[Record]) -> set[str]:
    return set(record_type.model_fields)


class User(Record):
    """Somebody who pays; known by the id that the caller's identity system uses."""

    id: str
    status: Literal["active", "blocked"]
    email: str | None
    phone: str | None
    created_at: Timestamp


class Wallet(Record):
    """Money of one user in one currency."""

    id: str
    user_id: str
    currency: Currency
    balance: int
    status: Literal["active", "inactive"]
    created_at: Timestamp


class Invoice(Record):
    """What a user owes to a merchant until it expires."""

    id: str
    user_id: str
    amount: int
    currency: Currency
    merchant: str
    description: str | None
    reference: str | None
    status: InvoiceStatus
    refunded_amount: int
    expires_at: Timestamp
    paid_at: Timestamp | None
    payment_id: str | None
    created_at: Timestamp


class Limit(Record):
    """A spending limit and how much of it is used. `limit` is None when it was lifted."""

    rule: Literal["global"] = "global"
    window: Literal["day"] = "day"
    currency: Currency
    limit: int | None
    used: int
    remaining: int | None
    resets_at: Timestamp


class Confirmation(Record):
    """The second step that a payment waits for."""

    method: Method
    sent_to: str
    expires_at: Timestamp
    attempts_remaining: int
    resends_remaining: int


class Failure(Record):
    """Why a payment failed."""

    code: Literal["too_many_attempts", "settlement_failed"]
    message: str


class Refund(Record):
    """Money that went back into the wallet."""

    amount: int
    at: Timestamp
    reason: Literal["settlement_failed", "requested_by_operator"]


class Resolution(Record):
    """How an operator decided a payment that was set aside."""

    outcome: Literal["settled", "refund"]
    note: str
    by: str
    at: Timestamp


class Payment(Record):
    """One try to pay an invoice from a wallet."""

    id: str
    invoice_id: str
    wallet_id: str
    user_id: str
    amount: int
    currency: Currency
    merchant: str
    status: PaymentStatus
    created_at: Timestamp
    paid_at: Timestamp | None
    settled_at: Timestamp | None
    balance_before: int | None
    balance_after: int | None
    confirmation: Confirmation | None
    failure: Failure | None
    refunded_amount: int
    refunds: list[Refund]
    limits: list[Limit]
    set_aside: bool
    resolution: Resolution | None = None

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing will change without somebody doing something."""
        return self.status in FINAL_STATUSES or self.set_aside


class Entry(Record):
    """One movement of a wallet."""

    amount: int
    balance_after: int
    kind: Literal["deposit", "payment", "refund"]
    payment_id: str | None
    at: Timestamp


class PaymentEvent(Record):
    """A change of a payment. The payment is shown as it was when the event was read, which can be later.

    `version` counts the changes of this payment, 1, 2, 3 …; with it a reader knows their order, and gaps.
    """

    id: str
    type: PaymentEventType
    at: Timestamp
    version: int
    payment: Payment


class InvoiceEvent(Record):
    """A change of an invoice, which is shown as it was when the event was read."""

    id: str
    type: InvoiceEventType
    at: Timestamp
    version: int
    invoice: Invoice


Event = PaymentEvent | InvoiceEvent
"""A change that a user is told of."""


class Message(Record):
    """A message to a user and what became of it."""

    id: str
    event_id: str
    user_id: str
    channel: Method
    to: str
    kind: str
    status: Literal["sent", "waiting", "dead"]
    attempts: int
    last_error: str | None
    at: Timestamp


class Difference(Record):
    """Something that is not as it has to be: the invariant, what it is about, what was expected and found."""

    invariant: str
    subject: str
    what: str
    expected: str
    found: str


class Checked(Record):
    """How much an audit looked at."""

    entries: int
    users: int
    wallets: int
    invoices: int
    payments: int
    limits: int
    messages: int


class Audit(Record):
    """The verdict of an audit, with at most a thousand differences."""

    clean: bool
    checked: Checked
    differences: list[Difference]


Item = TypeVar("Item")


class Page(Record, Generic[Item]):
    """Some of a list, newest first."""

    data: list[Item]
    has_more: bool
    next_cursor: str | None
