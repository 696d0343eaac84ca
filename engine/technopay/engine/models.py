"""What the engine answers with: frozen records, amounts in minor units, times in UTC.

The JSON form of each (`model_dump_json`) is the form that HTTP clients see.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PrivateAttr, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES_KEPT = 4_096
"""A payment is read and shown several times within a second, and its limit ends when all others do."""


@lru_cache(maxsize=TIMES_KEPT)
def from_ms(at_ms: int | str) -> datetime:
    seconds, milliseconds = divmod(int(at_ms), 1000)
    return EPOCH + timedelta(0, seconds, milliseconds * 1000)


def to_ms(at: datetime) -> int:
    """Turn a time into Unix milliseconds, exactly; what is finer is cut off."""
    return int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000


@lru_cache(maxsize=TIMES_KEPT)
def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]

Currency = Annotated[str, Field(description="ISO 4217 code")]
Amount = Annotated[int, Field(description="In minor units of the currency")]
OwnId = Annotated[str, Field(description="Its id")]
EventId = Annotated[str, Field(description="What to go on after, as `Last-Event-ID`")]
OwnerId = Annotated[str, Field(description="The user whom it belongs to")]
CreatedAt = Annotated[Timestamp, Field(description="When it was made")]
HappenedAt = Annotated[Timestamp, Field(description="When it happened")]
MerchantName = Annotated[str, Field(description="Who gets the money")]

PaymentStatus = Literal[
    "requires_confirmation", "processing", "succeeded", "failed", "canceled", "expired", "refunding", "refunded"
]
InvoiceStatus = Literal["open", "processing", "paid", "expired", "void"]
Method = Literal["email", "sms"]

PaymentEventType = Literal[
    "payment.started", "payment.code_resent", "payment.refused", "payment.processing", "payment.succeeded",
    "payment.failed", "payment.canceled", "payment.expired", "payment.refunding", "payment.refunded",
    "payment.refund_failed", "payment.set_aside", "payment.resolved",
]  # fmt: skip
InvoiceEventType = Literal["invoice.created", "invoice.voided"]
EventType = PaymentEventType | InvoiceEventType

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "expired", "refunded"})


class Record(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

    _replayed: bool = PrivateAttr(default=False)

    @classmethod
    def trusted(cls, **values: Any) -> Self:
        """Build a record from all of its values, which are right already: a faster `model_construct`."""
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
        # Read where pydantic keeps it: its own way there is five times as long, and every answer asks.
        return bool(self.__pydantic_private__ and self.__pydantic_private__["_replayed"])

    def as_replay(self) -> Self:
        """Return a copy that is marked as a replay: the record itself may be shared."""
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
    """Where codes and messages are sent, unless they go by text message."""
    phone: str | None
    """In E.164 form, like +15550100; where text messages are sent."""
    locked_until: Timestamp | None = None
    """Until when wrong codes lock the user out; null when they do not. Only operators see users."""
    created_at: CreatedAt


class Wallet(Record):
    """Money of one user in one currency."""

    id: OwnId
    user_id: OwnerId
    currency: Currency
    balance: Amount
    status: Literal["active", "inactive"]
    """Money is taken from active wallets only; deposits and refunds reach all."""
    created_at: CreatedAt


class Invoice(Record):
    """What a user owes to a merchant until it expires."""

    id: OwnId
    user_id: OwnerId
    amount: Amount
    currency: Currency
    merchant: MerchantName
    description: str | None
    """What was bought."""
    reference: str | None
    """The merchant's own name for it; used once per merchant."""
    status: InvoiceStatus
    """`open`: can be paid. `processing`: the money was taken, and the settlement goes on; if that fails, it can
    be paid again. `paid`: stays so, also when it is refunded. `expired`: was not paid in time. `void`: an
    operator took it back."""
    refunded_amount: int
    """What an operator refunded."""
    expires_at: Timestamp
    """Until when it can be paid."""
    paid_at: Timestamp | None
    """Set when it is paid, not before."""
    payment_id: str | None
    """The payment that paid it; set when it is paid, not before."""
    created_at: CreatedAt


class Limit(Record):
    """A spending limit and how much of it is used. `limit` is null when it was lifted."""

    rule: str = "global"
    """Whom it binds: all users together. More rules may come."""
    window: str = "day"
    """A calendar day. More windows may come."""
    currency: Currency
    limit: int | None
    """In minor units of the currency; null when it was lifted, 0 stops all payments."""
    used: int
    """What was taken in this window, in minor units of the currency."""
    remaining: int | None
    """What can still be taken in this window; null when there is no limit."""
    resets_at: Timestamp
    """When the next window begins, in which nothing is used yet."""


class Confirmation(Record):
    """The second step that a payment waits for."""

    method: Method
    """How the code went."""
    sent_to: str
    """Where the code went, masked."""
    expires_at: Timestamp
    """Until when the code can be used."""
    attempts_remaining: int
    """How many wrong codes are left; the last one ends the payment."""
    resends_remaining: int
    """How often a fresh code can still be asked for."""


class Failure(Record):
    """Why a payment failed."""

    code: Literal["too_many_attempts", "settlement_failed"]
    """`too_many_attempts`: the last wrong code was tried, no money was taken.
    `settlement_failed`: the money was taken and went back into the wallet."""
    message: str
    """For people; its words may change."""


class Refund(Record):
    """Money that went back into the wallet."""

    amount: Amount
    at: HappenedAt
    reason: Literal["settlement_failed", "requested_by_operator"]
    """`settlement_failed`: the merchant did not get the money. `requested_by_operator`: after it succeeded."""


class Resolution(Record):
    """How an operator decided a payment that was set aside."""

    outcome: Literal["settled", "refund"]
    """`settled`: the merchant got the money. `refund`: it went back into the wallet."""
    note: str
    """Why, in the operator's words."""
    by: str
    """The operator who decided it."""
    at: HappenedAt


class Payment(Record):
    """One try to pay an invoice from a wallet."""

    id: OwnId
    invoice_id: str
    """The invoice that it pays."""
    wallet_id: str
    """The wallet that it is paid from."""
    user_id: OwnerId
    amount: Amount
    currency: Currency
    merchant: MerchantName
    status: PaymentStatus
    """`requires_confirmation`: waits for the code. `processing`: the money was taken, the settlement goes on.
    `succeeded`: settled. `failed`: `failure` says why; what was taken is back in the wallet.
    `canceled`: by the user, by a newer payment of the invoice, or with the invoice. `expired`: its code was not
    used in time. `refunding`: an operator gives the money back. `refunded`: it is back in the wallet.

    Final are all but `requires_confirmation`, `processing` and `refunding`; what `succeeded` can still be
    refunded."""
    created_at: CreatedAt
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
    """What went back into the wallet, one by one."""
    limits: list[Limit]
    """As of the start, then as of the debit, with the own amount."""
    set_aside: bool
    """Whether its settlement is unknown for so long that an operator has to look. Its status stays."""

    @property
    def is_at_rest(self) -> bool:
        return self.status in FINAL_STATUSES or self.set_aside

    def for_user(self) -> Payment:
        """Return the payment without what only operators see."""
        return self


class OperatorPayment(Payment):
    """A payment as operators see it."""

    resolution: Resolution | None = None
    """Set when an operator decided it."""

    def for_user(self) -> Payment:
        payment = Payment.trusted(**{name: self.__dict__[name] for name in Payment.model_fields})
        # What pydantic compares, too: whether it is a replay, and the state of its code.
        object.__setattr__(payment, "__pydantic_private__", self.__pydantic_private__)
        return payment


class Entry(Record):
    """One movement of a wallet."""

    amount: int
    """In minor units; negative when money was taken."""
    balance_after: Amount
    kind: Literal["deposit", "payment", "refund"]
    """`deposit`: an operator put money in. `payment`: it was taken. `refund`: what a payment took went back."""
    payment_id: str | None
    """The payment that moved it; null for a deposit."""
    at: HappenedAt


class PaymentEvent(Record):
    """A change of a payment, which is shown as it was when the event was read."""

    id: EventId
    type: PaymentEventType
    """What happened. `payment.refused`: a confirm, for want of money or by the limit; confirm again."""
    at: HappenedAt
    version: int
    """Counts the changes of this payment, 1, 2, 3 … without gaps."""
    payment: Payment
    """As it was when the event was read: it can be newer than the event, never older."""


class InvoiceEvent(Record):
    """A change of an invoice, which is shown as it was when the event was read."""

    id: EventId
    type: InvoiceEventType
    """What happened."""
    at: HappenedAt
    version: int
    """Counts the changes of this invoice, 1, 2, 3 … without gaps."""
    invoice: Invoice
    """As it was when the event was read: it can be newer than the event, never older."""


Event = PaymentEvent | InvoiceEvent


class Message(Record):
    """A message to a user and what became of it."""

    id: OwnId
    event_id: str
    """The event that it tells of."""
    user_id: str
    """Whom it is for."""
    channel: Method
    """How it is sent."""
    to: str
    """The address that it is sent to."""
    kind: str
    """What it tells, like `payment.succeeded`."""
    status: Literal["sent", "waiting", "dead"]
    """`sent`: handed over. `waiting`: is tried again. `dead`: given up; an operator can send it again."""
    attempts: int
    """How often it was tried."""
    last_error: str | None
    """Why the last try failed; null when it did not."""
    at: Annotated[Timestamp, Field(description="When it was last tried")]


class Difference(Record):
    """Something that is not as it has to be: the invariant, what it is about, what was expected and found."""

    invariant: str
    """The rule that does not hold."""
    subject: str
    """The record that it is about."""
    what: str
    """What of it."""
    expected: str
    """As it has to be, by the rule."""
    found: str
    """As it is."""


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
    """Whether everything is as it has to be."""
    checked: Checked
    """How much was looked at."""
    differences: list[Difference]
    """Empty when it is clean."""


Item = TypeVar("Item")


class Page(Record, Generic[Item]):
    """Some of a list, newest first."""

    data: list[Item]
    has_more: bool
    """Whether there is more behind it."""
    next_cursor: str | None
    """What the next page goes on from; null on the last one."""
