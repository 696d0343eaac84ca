"""The records that the engine returns. Amounts are in minor units."""

from typing import Annotated, Literal

from pydantic import Field

from technopay.engine.record import Record, Timestamp

Currency = Annotated[str, Field(description="ISO 4217 code")]
Amount = Annotated[int, Field(description="In minor units of the currency")]
OwnId = Annotated[str, Field(description="Its id")]
EventId = Annotated[str, Field(description="Send it as `Last-Event-ID` to resume a user's stream")]
OwnerId = Annotated[str, Field(description="The user that owns it")]
CreatedAt = Annotated[Timestamp, Field(description="When it was created")]
HappenedAt = Annotated[Timestamp, Field(description="When it happened")]
MerchantName = Annotated[str, Field(description="The payee")]

PaymentStatus = Literal[
    "requires_confirmation", "processing", "succeeded", "failed", "canceled", "expired", "refunding", "refunded"
]
InvoiceStatus = Literal["open", "processing", "paid", "expired", "void"]
Method = Literal["email", "sms"]

PaymentEventType = Literal[
    "payment.started", "payment.code_resent", "payment.refused", "payment.processing", "payment.succeeded",
    "payment.failed", "payment.canceled", "payment.expired", "payment.refunding", "payment.refunded",
    "payment.partially_refunded", "payment.refund_failed", "payment.set_aside", "payment.resolved",
]  # fmt: skip
InvoiceEventType = Literal["invoice.created", "invoice.voided"]
WalletEventType = Literal["wallet.withdrawn", "wallet.adjusted"]

FINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "expired", "refunded"})


class User(Record):
    """A paying user, known by the id in the caller's identity system."""

    id: str
    """As in the caller's identity system."""
    status: Literal["active", "blocked"]
    """A blocked user cannot start or confirm payments, or have codes sent again."""
    email: str | None
    """For codes and messages, unless they are sent as text messages."""
    phone: str | None
    """For text messages, in E.164 form, like +15550100."""
    locked_until: Timestamp | None = None
    """When a lock-out by wrong codes ends; null without one. Only operators see users."""
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
    """A debt of a user to a merchant, payable until it expires."""

    id: OwnId
    user_id: OwnerId
    amount: Amount
    currency: Currency
    merchant: MerchantName
    description: str | None
    """What was bought."""
    reference: str | None
    """The merchant's own id for it; unique per merchant."""
    status: InvoiceStatus
    """`open`: can be paid. `processing`: the money was taken, and the settlement goes on; if that fails, it can
    be paid again. `paid`: final, also after a refund. `expired`: was not paid in time. `void`: an operator
    withdrew it."""
    refunded_amount: int
    """The amount that an operator refunded."""
    expires_at: Timestamp
    """When it expires."""
    paid_at: Timestamp | None
    """Set when it is paid, not before."""
    payment_id: str | None
    """The payment that paid it; set when it is paid, not before."""
    created_at: CreatedAt
    metadata: dict[str, str] = Field(default_factory=dict)
    """What was stored with the invoice; empty if nothing."""


class Limit(Record):
    """A spending limit and how much of it is used. `limit` is null when it was lifted."""

    rule: str = "global"
    """`global`: all users together. Other rules may follow."""
    window: str = "day"
    """A calendar day. Other windows may follow."""
    currency: Currency
    limit: int | None
    """In minor units of the currency; null when it was lifted, 0 stops all payments."""
    used: int
    """Debited in this window, in minor units of the currency."""
    remaining: int | None
    """Left in this window; null when there is no limit."""
    resets_at: Timestamp
    """When the next window begins, with nothing used."""
    pending: bool = False
    """Whether a change has not reached all partitions of the store yet: some may use the earlier limit."""


class Confirmation(Record):
    """The second step that a payment waits for."""

    method: Method
    """How the code was sent."""
    sent_to: str
    """The address of the code, masked; after a change of it, that of the next code."""
    expires_at: Timestamp
    """When the code expires."""
    attempts_remaining: int
    """How many wrong codes are left; the last one ends the payment."""
    resends_remaining: int
    """How many further codes can be requested."""


class Failure(Record):
    """Why a payment failed."""

    code: Literal["too_many_attempts", "settlement_failed"]
    """`too_many_attempts`: the last wrong code was tried, no money was taken.
    `settlement_failed`: the money was taken and went back into the wallet."""
    message: str
    """For people; the wording may change."""


class Refund(Record):
    """An amount of a payment that goes back into the wallet."""

    id: OwnId
    amount: Amount
    at: Annotated[Timestamp, Field(description="When it ended; when it began, while it is pending")]
    reason: Literal["settlement_failed", "requested_by_operator"]
    """`settlement_failed`: the merchant did not get the money. `requested_by_operator`: after success."""
    note: str | None
    """The operator's reason."""
    status: Literal["pending", "done", "failed"]
    """`pending`: the settlement service has to reverse it. `done`: the amount is in the wallet. `failed`: the
    service declined; the amount stays with the merchant."""


class Resolution(Record):
    """How an operator decided a payment that was set aside."""

    outcome: Literal["settled", "refund"]
    """`settled`: the merchant got the money. `refund`: it went back into the wallet."""
    note: str
    """The operator's reason."""
    by: str
    """The operator who decided it."""
    at: HappenedAt


class Payment(Record):
    """An attempt to pay an invoice from a wallet."""

    id: OwnId
    invoice_id: str
    """The invoice that it pays."""
    wallet_id: str
    """The wallet that pays."""
    user_id: OwnerId
    amount: Amount
    currency: Currency
    merchant: MerchantName
    status: PaymentStatus
    """`requires_confirmation`: waits for the code. `processing`: the money was taken, the settlement goes on.
    `succeeded`: settled. `failed`: `failure` has the reason; a debit is back in the wallet.
    `canceled`: by the user, by a newer payment of the invoice, or with the invoice. `expired`: its code was not
    used in time. `refunding`: an operator began a refund. `refunded`: all of it is back in the wallet.

    Not final: `requires_confirmation`, `processing`, `refunding`; after `succeeded` a refund is possible."""
    created_at: CreatedAt
    paid_at: Timestamp | None
    """When the wallet was debited, by the clock of the store."""
    settled_at: Timestamp | None
    """When the settlement service confirmed the settlement."""
    balance_before: int | None
    """The wallet's balance before the debit."""
    balance_after: int | None
    """The wallet's balance after the debit."""
    confirmation: Confirmation | None
    """Set while the payment waits for its code, and when that has expired."""
    failure: Failure | None
    """Set when it failed."""
    refunded_amount: int
    """The amount that went back into the wallet, for any reason."""
    refunds: list[Refund]
    """The amounts that go back into the wallet, the oldest first; of failed ones perhaps only the last."""
    limits: list[Limit]
    """At the start; from the debit on, with this payment's amount."""
    set_aside: bool
    """Whether its settlement is unknown for so long that an operator has to decide. Its status stays."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """What was stored with the invoice; empty if nothing."""

    @property
    def is_at_rest(self) -> bool:
        return self.status in FINAL_STATUSES or self.set_aside

    def for_user(self) -> "Payment":
        """Return the payment without the fields for operators."""
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
    """In minor units; negative for a debit."""
    balance_after: Amount
    kind: Literal["deposit", "withdrawal", "adjustment", "payment", "refund"]
    """`deposit`, `withdrawal`, `adjustment`: by an operator. `payment`: the debit of a payment. `refund`: all
    or a part of a debit went back."""
    payment_id: str | None
    """The payment that moved it; null without one."""
    refund_id: str | None
    """The refund of the payment; null without one."""
    reference: str | None
    """The reference of a deposit, unique in its wallet; null without one."""
    note: str | None
    """The operator's reason."""
    by: str | None
    """The operator."""
    at: HappenedAt


class Statement(Record):
    """A part of a wallet's entries in a range of times, oldest first; all of its parts add up.

    The opening balance and the amounts of all entries are together the closing balance.
    """

    opening_balance: int
    """The balance before the first entry of the range, in minor units."""
    closing_balance: int
    """The balance after the last entry of the range, in minor units."""
    data: list[Entry]
    """The entries of this page."""
    has_more: bool
    """Whether there is a next page."""
    next_cursor: str | None
    """The cursor of the next page; null on the last one."""
    currency: Currency


class PaymentEvent(Record):
    """A change of a payment, which is shown as it was when the event was read."""

    id: EventId
    type: PaymentEventType
    """What happened. `payment.refused`: a confirm was refused for funds or limit; it can be confirmed again."""
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


class WalletEvent(Record):
    """A change of a wallet by an operator; the wallet is shown as it was when the event was read."""

    id: EventId
    type: WalletEventType
    """What happened."""
    at: HappenedAt
    version: int
    """The number of the entry in the wallet, which grows."""
    wallet: Wallet
    """As it was when the event was read: it can be newer than the event, never older."""


Event = PaymentEvent | InvoiceEvent | WalletEvent
Subject = Payment | Invoice | Wallet


class EventPage(Record):
    """Events of all users, oldest first within each partition of the store, and so for each payment."""

    data: list[Event]
    """The events of this page."""
    has_more: bool
    """Whether there were further entries behind this page. It can be short, or empty, all the same."""
    next_cursor: str
    """Where to go on: `after` of the next page, now or when there is more."""


class Message(Record):
    """A message to a user and its delivery."""

    id: OwnId
    event_id: str
    """The event that caused it."""
    user_id: str
    """The recipient."""
    channel: Method
    """The channel that delivers it."""
    to: str
    """The recipient's address."""
    kind: str
    """Its kind, like `payment.succeeded`."""
    status: Literal["sent", "waiting", "dead"]
    """`sent`: delivered. `waiting`: for a retry. `dead`: given up; an operator can send it again."""
    attempts: int
    """How often it was tried."""
    last_error: str | None
    """The error of the last attempt; null without one."""
    at: Annotated[Timestamp, Field(description="When the last attempt was")]


class Difference(Record):
    """A violated invariant, with the expected and the actual value."""

    invariant: str
    """The invariant that does not hold."""
    subject: str
    """The record that it is about."""
    what: str
    """The part of the record."""
    expected: str
    """The expected value."""
    found: str
    """The actual value."""


class Checked(Record):
    """The numbers of checked records."""

    entries: int
    users: int
    wallets: int
    invoices: int
    payments: int
    limits: int
    messages: int


class ArchiveStatus(Record):
    """How far the journal of the store is archived. Null for what is unknown, as before the first archiver."""

    lag_s: float | None
    """The age of the oldest entry of the journal that is not archived; 0 if all are."""
    archived_to: Timestamp | None
    """The time up to which everything is archived."""
    checkpoint: Timestamp | None
    """The latest time up to which history has left the store; null while it has all."""


class Audit(Record):
    """The result of an audit, with at most a thousand differences."""

    clean: bool
    """Whether there is no difference."""
    checked: Checked
    """What was checked."""
    differences: list[Difference]
    """The violated invariants; empty if it is clean."""
