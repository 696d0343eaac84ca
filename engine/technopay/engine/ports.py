"""The ports: what the engine needs of the world. Time, randomness and ids come only through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from technopay.engine import models
from technopay.engine.journal import Journal
from technopay.engine.models import Audit, Entry, Invoice, Limit, Message, Method, Page, Payment, User, Wallet
from technopay.engine.statistics import ScriptTime, StoreGauges, UnreadableRecords

if TYPE_CHECKING:
    from technopay.engine import commands
    from technopay.engine.commands import Command
    from technopay.engine.errors import Fault

Value = TypeVar("Value", covariant=True)

ClaimKind = Literal["payment", "message", "relay"]
Verdict = Literal["settled", "given_back", "reversed", "refund_failed"]


class Outcome(NamedTuple, Generic[Value]):
    """The answer to a command: `code` is 'ok' or the code of a refusal; a refusal is a value in here."""

    code: str
    value: Value | None = None
    details: Mapping[str, Any] = MappingProxyType({})
    token: str = ""
    replayed: bool = False


class Operation(NamedTuple):
    """The identity of one call, by which a repeat of it is known.

    `fingerprint` stands for the arguments; an empty one keeps no record of its own (the payment is the record).
    """

    id: str
    fingerprint: str = ""
    kept_ms: int = 0


class Lease(NamedTuple):
    """What an actor brings to the store: who it is, the token it knows (or ''), whether more is to come."""

    owner: str
    token: str
    keep: bool


class PaymentTerms(NamedTuple):
    """What a code is bound to (PSD2 RTS, Article 5): this payment, this amount, this payee."""

    payment_id: str
    amount: int
    currency: str
    merchant: str


class RefundTerms(NamedTuple):
    """One refund of a payment: the id is the key of its reversal."""

    id: str
    amount: int


class Claimed(NamedTuple):
    """A payment that this process may settle or reverse, under this claim, until the claim runs out."""

    payment: Payment
    claim: str
    refund_id: str = ""


class Parcel(NamedTuple):
    """What has to be known of a payment to tell its user; the status `unreadable` stands for what cannot be."""

    payment_id: str
    user_id: str
    wallet_id: str
    amount: int
    currency: str
    merchant: str
    status: str
    method: Method | None
    issue: int | None
    key_id: str
    email: str | None
    phone: str | None

    @property
    def terms(self) -> PaymentTerms:
        """What a code is bound to."""
        return PaymentTerms(self.payment_id, self.amount, self.currency, self.merchant)


class Notice(NamedTuple):
    """What a user has to be told because of one entry of the journal.

    `issue` is the number of the code that the entry is about, `reason` why something failed. Without a
    parcel there is nothing to tell any more.
    """

    entry_id: str
    kind: str
    issue: int | None
    reason: str
    parcel: Parcel | None


@dataclass(frozen=True, slots=True)
class Outbox:
    """The notices of a stretch of the journal, claimed; `cursor` is its last entry."""

    claim: str
    notices: Sequence[Notice]
    cursor: str
    entries: int


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that is to be tried again, under this claim."""

    notice: Notice
    channel: Method
    attempts: int
    claim: str


Fate = Literal["sent", "waiting", "dead", "stale", "unsent", "left"]
"""What became of a message. Without a use any more it is stale; a code that no verifier sends, unsent."""


@dataclass(frozen=True, slots=True)
class UntoldNotice:
    """A notice not sent at once (`error`: it is tried again), or not by the channel its entry implies."""

    notice: Notice
    channel: Method
    fate: Fate
    error: str


@dataclass(frozen=True, slots=True)
class Due:
    """What the agenda handed out, and in how many milliseconds the next of it is due (None: nothing waits).

    `set_aside` is how many payments wait for an operator.
    """

    payments: Sequence[Claimed]
    messages: Sequence[ClaimedMessage]
    next_in_ms: int | None
    set_aside: int = 0


class OutgoingMessage(NamedTuple):
    """A message as a channel gets it. By `event_id`, the same on every try, a repeat is known.

    `text` is complete. `payee` is the merchant's name, `amount` is in minor units of `currency`.
    """

    event_id: str
    user_id: str
    channel: Method
    to: str
    kind: str
    text: str
    payment_id: str
    amount: int
    currency: str
    payee: str
    code: str | None = None


class Clock(Protocol):
    """Time as this process sees it: for waiting only. What time it is, the store says."""

    def monotonic(self) -> float:
        """Answer seconds that never go back."""

    async def sleep(self, delay_s: float) -> None:
        """Wait."""


class Ids(Protocol):
    """Where ids come from."""

    def new(self, prefix: str) -> str:
        """Make an id that sorts after those made before: prefix, '_', partition, the rest."""


_AnyVersion = Enum("_AnyVersion", "ANY")
ANY: Final = _AnyVersion.ANY
"""What a verifier without versions returns for a right answer."""

MatchingVersions = AbstractSet[int] | Literal[_AnyVersion.ANY]


class Verifier(Protocol):
    """The second step. It only compares an answer; the store judges, counts and consumes."""

    async def code(self, terms: PaymentTerms, version: int) -> str | None:
        """Return the code to send to the user, always the same for one version; None when nothing is sent."""

    async def check(self, terms: PaymentTerms, answer: str, versions: AbstractSet[int]) -> MatchingVersions:
        """Return those of `versions` that an answer of any form matches, or ANY; an empty set: none."""


class SettlementService(Protocol):
    """Where the money goes. The payment id is the key of a payment, the refund id that of a reversal.

    Every call may be made again. Anything but the listed answers, an exception and silence included, counts as
    unknown.
    """

    async def settle(self, terms: PaymentTerms) -> Literal["settled", "declined"]:
        """Settle the payment under its id, or decline to."""

    async def status(
        self, terms: PaymentTerms
    ) -> Literal["settled", "declined", "called_off", "pending", "not_found"]:
        """Tell what became of a payment. 'not_found' is no no: a request may still be on its way."""

    async def call_off(
        self, terms: PaymentTerms
    ) -> Literal["called_off", "already_settled", "already_declined"]:
        """See to it that the payment is not settled from now on, even if it was never seen.

        An adapter to a service that cannot promise this raises; its payments are set aside instead.
        """

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed", "declined"]:
        """Undo a settlement, or decline to: then the payment stays settled."""


class Channel(Protocol):
    """A way to reach a user. Returning means that the message was taken; raising means that it was not."""

    async def deliver(self, message: OutgoingMessage) -> None:
        """Hand the message over."""


class Store(Journal, Protocol):
    """The only truth. Each method is one atomic step; what it decides, it decides with its own clock.

    Methods raise StoreUnavailable (nothing happened) or OutcomeUnknown (ask again with the same operation).
    """

    unreadable: UnreadableRecords

    @property
    def script_times(self) -> Mapping[str, ScriptTime]:
        """How long the scripts took that this process sent."""
        ...

    def send(self, command: Command, lease: Lease, hear: Callable[[Outcome[Any] | Fault], None]) -> None:
        """Send a wallet's command with all others of this loop tick; `hear` gets its outcome, later and once.

        Commands reach the store in the order in which they were sent. Codes beside those of refusals:
        'busy' (another owner has the lease), 'fenced' (the token is not current), 'bounds' (send it again);
        after each of them nothing happened. Faults: StoreUnavailable (nothing happened), OutcomeUnknown (send
        it again: the store knows its own earlier outcome), InternalError.
        """
        ...

    async def renew_claims(self, claims: Sequence[tuple[ClaimKind, str, str]], *, keep: bool) -> Sequence[bool]:
        """Renew claims {kind, id, token} or give them up; False for an old one."""

    async def set_aside(self, payment_id: str, claim: str, interval_ms: int) -> bool:
        """Leave a payment to an operator, to be asked for again after a while; False for an old claim."""

    async def resolve_payment(
        self, operation: Operation, payment_id: str, verdict: str, note: str, by: str
    ) -> Outcome[models.OperatorPayment]:
        """Decide a payment that was set aside."""
        ...

    async def create_user(
        self, operation: Operation, user_id: str, email: str | None, phone: str | None
    ) -> Outcome[User]:
        """Make a user known."""
        ...

    async def set_user_status(
        self, operation: Operation, user_id: str, status: str, failures_per_day: int | None
    ) -> Outcome[User]:
        """Block or unblock a user."""

    async def unlock_user(
        self, operation: Operation, user_id: str, failures_per_day: int | None
    ) -> Outcome[User]:
        """Clear a lock-out by so many wrong codes."""
        ...

    async def create_wallet(
        self, operation: Operation, wallet_id: str, user_id: str, currency: str
    ) -> Outcome[Wallet]:
        """Open a wallet."""
        ...

    async def create_invoice(self, operation: Operation, invoice: commands.NewInvoice) -> Outcome[Invoice]:
        """Enter an invoice."""
        ...

    async def void_invoice(self, operation: Operation, invoice_id: str) -> Outcome[Invoice]:
        """Withdraw an invoice. details: `payment` when one stands in the way."""
        ...

    async def set_limit(self, operation: Operation, currency: str, amount: int | None) -> Outcome[Limit]:
        """Set or lift the daily limit of a currency."""
        ...

    async def read_limits(self, user_id: str | None) -> list[Limit]:
        """Read all limits, or those that bind a user."""

    async def read_user(self, user_id: str, failures_per_day: int | None) -> Outcome[User]:
        """Read a user, with the end of a lock-out by so many wrong codes."""

    async def read_wallet(self, wallet_id: str, user_id: str | None) -> Outcome[Wallet]:
        """Read a wallet, with a user only that user's own."""

    async def read_invoice(self, invoice_id: str, user_id: str | None) -> Outcome[Invoice]:
        """Read an invoice, with a user only that user's own."""

    async def read_payment(self, payment_id: str, user_id: str | None) -> Outcome[models.OperatorPayment]:
        """Read a payment, with a user only that user's own."""

    async def list_wallets(self, user_id: str, cursor: str, limit: int) -> Page[Wallet]:
        """List a user's wallets."""

    async def list_invoices(self, user_id: str, cursor: str, limit: int) -> Page[Invoice]:
        """List a user's invoices."""

    async def list_payments(self, user_id: str, cursor: str, limit: int) -> Page[Payment]:
        """List a user's payments."""

    async def search_payments(
        self, status: str | None, user_id: str | None, *, set_aside: bool | None, cursor: str, limit: int
    ) -> Page[models.OperatorPayment]:
        """List payments of all users that match."""

    async def list_entries(
        self, wallet_id: str, user_id: str | None, cursor: str, limit: int
    ) -> Outcome[Page[Entry]]:
        """List a wallet's movements."""

    async def list_messages(
        self, status: str | None, user_id: str | None, cursor: str, limit: int
    ) -> Page[Message]:
        """List messages."""

    async def take_due(self, count: int) -> Due:
        """Take what is due on the agenda."""

    async def read_outbox(self, owner: str, count: int) -> Outbox | None:
        """Claim the relay and read on in the journal; None when nothing came, or another process relays."""

    async def record_deliveries(
        self, claim: str, cursor: str, retry_ms: int, untold: Sequence[UntoldNotice]
    ) -> bool:
        """Move the relay on and write down what was not delivered; False for an old claim."""

    async def record_attempt(self, message: ClaimedMessage, fate: Fate, error: str, retry_ms: int) -> bool:
        """Write down another attempt at a message; False for an old claim."""

    async def send_again(self, operation: Operation, message_id: str) -> Outcome[Message]:
        """Try a dead message again."""

    async def bind_secret(self, key_ids: Sequence[str]) -> Outcome[str]:
        """Add an engine's keys to those of the store, or refuse them as 'foreign' if it knows none of them.

        The value is the id of the key that challenges without one belong to.
        """

    async def ping(self) -> None:
        """Find out whether the store works."""

    async def measure(self) -> StoreGauges:
        """Tell what can be known of all engines on the store."""

    async def audit(self) -> Audit:
        """Recompute every invariant from the journal and compare; it runs beside traffic."""

    async def mock_settlement(self, action: str, payment_id: str, errors: int = 0, refund_id: str = "") -> str:
        """Keep the book of the mock settlement service."""

    async def mock_inbox(self, user_id: str, message: str) -> None:
        """Put a message into a user's mock inbox."""

    async def read_mock_inbox(self, user_id: str, most: int) -> list[str]:
        """Read a user's mock inbox, newest first."""
