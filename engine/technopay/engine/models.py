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
Amount = Annotated[int, Field(description="In minor units of the currency")]

MoreToCome = WithJsonSchema({"type": "string"}, mode="serialization")
"""In the schema of answers, any text: clients that were generated from it must live with values to come."""

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

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

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
    """As in the identity system of whoever calls."""
    status: Literal["active", "blocked"]
    """A blocked user cannot start or confirm payments, or have codes sent again."""
    email: str | None
    phone: str | None
    """In E.164 form."""
    created_at: Timestamp


class Wallet(Record):
    """Money of one user in one currency."""

    id: str
    user_id: str
    currency: Currency
    balance: Amount
    status: Literal["active", "inactive"]
    """Money is taken from active wallets only; deposits and refunds reach all."""
    created_at: Timestamp


class Invoice(Record):
    """What a user owes to a merchant until it expires."""

    id: str
    user_id: str
    amount: Amount
    currency: Currency
    merchant: str
    description: str | None
    reference: str | None
    """The merchant's own name for it; used once per merchant."""
    status: InvoiceStatus
    refunded_amount: int
    """What an operator refunded."""
    expires_at: Timestamp
    paid_at: Timestamp | None
    """Set when it is paid, not before."""
    payment_id: str | None
    """The payment that paid it; set when it is paid, not before."""
    created_at: Timestamp


class Limit(Record):
    """A spending limit and how much of it is used. `limit` is None when it was lifted."""

    rule: Annotated[Literal["global"], MoreToCome] = "global"
    """Whom it binds: all users together. More rules may come."""
    window: Annotated[Literal["day"], MoreToCome] = "day"
    """More windows may come."""
    currency: Currency
    limit: int | None
    """None when it was lifted; 0 stops all payments."""
    used: int
    remaining: int | None
    resets_at: Timestamp


class Confirmation(Record):
    """The second step that a payment waits for."""

    method: Method
    sent_to: str
    """Where the code went, masked."""
    expires_at: Timestamp
    attempts_remaining: int
    """How many wrong codes are left; the last one ends the payment."""
    resends_remaining: int


class Failure(Record):
    """Why a payment failed."""

    code: Literal["too_many_attempts", "settlement_failed"]
    message: str
    """For people; its words may change."""


class Refund(Record):
    """Money that went back into the wallet."""

    amount: Amount
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
    amount: Amount
    currency: Currency
    merchant: str
    status: PaymentStatus
    created_at: Timestamp
    paid_at: Timestamp | None
    """When the wallet was debited, by the clock of the store."""
    settled_at: Timestamp | None
    """When the settlement service said that it is settled."""
    balance_before: int | None
    """Of the wallet, at the debit."""
    balance_after: int | None
    """Of the wallet, at the debit."""
    confirmation: Confirmation | None
    """Set while the payment waits for its code, and when that has expired."""
    failure: Failure | None
    """Set when it failed."""
    refunded_amount: int
    """What went back into the wallet, for whatever reason."""
    refunds: list[Refund]
    limits: list[Limit]
    """As of the start, then as of the debit, with the own amount."""
    set_aside: bool
    """Whether its settlement is unknown for so long that an operator has to look."""
    resolution: Resolution | None = None
    """Set when an operator decided it. Only operators see it."""

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing will change without somebody doing something."""
        return self.status in FINAL_STATUSES or self.set_aside


class Entry(Record):
    """One movement of a wallet."""

    amount: int
    """In minor units; negative when money was taken."""
    balance_after: Amount
    kind: Literal["deposit", "payment", "refund"]
    payment_id: str | None
    """None for a deposit."""
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
    """What it tells, like `payment.succeeded`."""
    status: Literal["sent", "waiting", "dead"]
    attempts: int
    last_error: str | None
    """Why the last try failed."""
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
    """None when it is clean."""


Item = TypeVar("Item")


class Page(Record, Generic[Item]):
    """Some of a list, newest first."""

    data: list[Item]
    has_more: bool
    """Whether there is more behind it."""
    next_cursor: str | None
    """What the next page goes on from; None on the last one."""
