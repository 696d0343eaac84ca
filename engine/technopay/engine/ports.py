"""The ports of the engine. Time, randomness and ids come only through them."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from technopay.engine.commands import Command
from technopay.engine.errors import Fault
from technopay.engine.models import Audit, Method
from technopay.engine.statistics import ScriptTime, StoreGauges, UnreadableRecords
from technopay.engine.values import JournalBatch, Lease, PaymentTerms, Position, RefundTerms

Value = TypeVar("Value", covariant=True)
Result = TypeVar("Result")


class Outcome(NamedTuple, Generic[Value]):
    """The result of a command: `code` is 'ok' or the code of a refusal, which is a value here."""

    code: str
    value: Value | None = None
    details: Mapping[str, Any] = MappingProxyType({})
    token: str = ""
    replayed: bool = False


class OutgoingMessage(NamedTuple):
    """A message for a channel. `event_id` is the same on every attempt, so that repeats can be recognised.

    `text` is complete. `payee` is the merchant's name, `amount` is in minor units of `currency`. A message
    about an address (`user.address_changed`) has no payment: id, currency and payee are empty, the amount is 0.
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
    """The clock of this process, for waiting only. The time of day comes from the store."""

    def monotonic(self) -> float:
        """Return seconds that never decrease."""

    async def sleep(self, delay_s: float) -> None:
        """Wait."""


class Ids(Protocol):
    def new(self, prefix: str, partition: int) -> str:
        """Make an id that sorts after earlier ones: prefix, '_', partition in hexadecimal, the rest."""


_AnyVersion = Enum("_AnyVersion", "ANY")
ANY: Final = _AnyVersion.ANY
"""The result of a verifier without versions for a right answer."""

MatchingVersions = AbstractSet[int] | Literal[_AnyVersion.ANY]


class Verifier(Protocol):
    """The second step. It only compares an answer; the store checks, counts and consumes."""

    async def code(self, terms: PaymentTerms, version: int) -> str | None:
        """Return the code to send, always the same for one version; None to send nothing."""

    async def check(self, terms: PaymentTerms, answer: str, versions: AbstractSet[int]) -> MatchingVersions:
        """Return those of `versions` that an answer of any form matches, or ANY."""


class SettlementService(Protocol):
    """Pays merchants. The payment id is the key of a payment, the refund id that of a reversal.

    Every call can be repeated. Any other result, an exception and silence included, counts as unknown.
    """

    async def settle(self, terms: PaymentTerms) -> Literal["settled", "declined"]:
        """Settle the payment under its id, or decline to."""

    async def status(
        self, terms: PaymentTerms
    ) -> Literal["settled", "declined", "called_off", "pending", "not_found"]:
        """Return the state of a payment. 'not_found' decides nothing: a request may still be on its way."""

    async def call_off(
        self, terms: PaymentTerms
    ) -> Literal["called_off", "already_settled", "already_declined"]:
        """Make sure that the payment is not settled from now on, even if the service does not know it.

        An adapter to a service without this guarantee raises; then the payment is set aside.
        """

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed", "declined"]:
        """Reverse a settlement, or decline: then the payment stays settled."""


class Channel(Protocol):
    """Delivers messages to users. An exception means that the message was not delivered."""

    async def deliver(self, message: OutgoingMessage) -> None:
        """Deliver a message."""


class WebhookAnswer(NamedTuple):
    """The answer of an endpoint: its HTTP status, and the beginning of its body as text."""

    status: int
    text: str


class WebhookSender(Protocol):
    """Sends events to the endpoints of webhooks."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> WebhookAnswer:
        """POST once, without following redirects; wait for the status for at most `timeout_s`.

        The status decides: a body that comes late is left out, within a second. An exception means that there
        was no answer; its text is shown to operators. Unless private addresses are allowed, each address is
        checked before the connection: see technopay.engine.webhooks.addresses.
        """
        ...


class Store(Protocol):
    """The only source of truth. Each command is one atomic step, by the clock of the store.

    A user and all records of the user are in one partition, which their ids contain. Methods raise
    StoreUnavailable (nothing happened) or OutcomeUnknown (retry with the same operation).
    """

    unreadable: UnreadableRecords

    @property
    def partitions(self) -> Sequence[int]: ...

    @property
    def script_times(self) -> Mapping[str, ScriptTime]:
        """The times of the scripts of this process."""
        ...

    def partition_of(self, user_id: str) -> int: ...

    def send(
        self, command: Command[Result], lease: Lease, on_result: Callable[[Outcome[Result] | Fault], None]
    ) -> None:
        """Send a wallet's command with all others of this loop tick; `on_result` gets its outcome, once.

        Commands reach the store in the order in which they were sent. Codes beside those of refusals:
        'busy' (another owner has the lease), 'fenced' (the token is not current), 'bounds' (send it again);
        after each of them nothing happened. Faults: StoreUnavailable (nothing happened), OutcomeUnknown (send
        it again: the store returns the first outcome), InternalError.
        """
        ...

    async def run(self, command: Command[Result], lease: Lease | None = None) -> Outcome[Result]:
        """Send a command and wait for its outcome. After a lost reply it is sent again, for a bounded time."""
        ...

    async def read_end(self, partition: int) -> Position:
        """Return the position of the last entry of the journal."""
        ...

    async def read_clock_step(self, partition: int) -> int | None:
        """Return by how many milliseconds the id of an entry is later than its time, at most; None if unknown.

        It is later while the clock of the store is behind an earlier time of its own.
        """
        ...

    async def read_journal(self, partition: int, after: Position, limit: int) -> JournalBatch:
        """Read the entries after a position, which need not exist."""
        ...

    async def ping(self) -> None:
        """Check whether the store works."""

    async def measure(self) -> StoreGauges:
        """Measure the store, for all engines on it."""
        ...

    async def audit(self) -> Audit:
        """Recompute every invariant from the journal, beside traffic."""
        ...
