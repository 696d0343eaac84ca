"""The ports: what the engine needs of the world. Time, randomness and ids come only through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from technopay.engine.commands import Command
from technopay.engine.errors import Fault
from technopay.engine.models import Audit, Method
from technopay.engine.statistics import ScriptTime, StoreGauges, UnreadableRecords
from technopay.engine.values import JournalBatch, Lease, PaymentTerms, Position

Value = TypeVar("Value", covariant=True)
Result = TypeVar("Result")


class Outcome(NamedTuple, Generic[Value]):
    """The result of a command: `code` is 'ok' or the code of a refusal; a refusal is a value in here."""

    code: str
    value: Value | None = None
    details: Mapping[str, Any] = MappingProxyType({})
    token: str = ""
    replayed: bool = False


class RefundTerms(NamedTuple):
    """One refund of a payment: the id is the key of its reversal."""

    id: str
    amount: int


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
        """Return seconds that never go back."""

    async def sleep(self, delay_s: float) -> None:
        """Wait."""


class Ids(Protocol):
    """Where ids come from."""

    def new(self, prefix: str, partition: int) -> str:
        """Make an id that sorts after those made before: prefix, '_', two hexadecimal digits, the rest."""


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
        """Return the state of a payment. 'not_found' denies nothing: a request may still be on its way."""

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


class Store(Protocol):
    """The only truth. Each command is one atomic step; what it decides, it decides with its own clock.

    A user and everything that belongs to the user lives in one partition, which ids carry. Methods raise
    StoreUnavailable (nothing happened) or OutcomeUnknown (ask again with the same operation).
    """

    unreadable: UnreadableRecords

    @property
    def partitions(self) -> Sequence[int]: ...

    @property
    def script_times(self) -> Mapping[str, ScriptTime]:
        """How long the scripts took that this process sent."""
        ...

    def partition_of(self, user_id: str) -> int: ...

    def send(
        self, command: Command[Result], lease: Lease, on_result: Callable[[Outcome[Result] | Fault], None]
    ) -> None:
        """Send a wallet's command with all others of this loop tick; `on_result` gets its outcome, once.

        Commands reach the store in the order in which they were sent. Codes beside those of refusals:
        'busy' (another owner has the lease), 'fenced' (the token is not current), 'bounds' (send it again);
        after each of them nothing happened. Faults: StoreUnavailable (nothing happened), OutcomeUnknown (send
        it again: the store knows its own earlier outcome), InternalError.
        """
        ...

    async def run(self, command: Command[Result], lease: Lease | None = None) -> Outcome[Result]:
        """Send a command and wait for its outcome. A lost reply is asked for again, a bounded time."""
        ...

    async def read_end(self, partition: int) -> Position:
        """Return the position of the last entry of the journal."""
        ...

    async def read_journal(self, partition: int, after: Position, limit: int) -> JournalBatch:
        """Read the entries after a position, which need not exist."""
        ...

    async def ping(self) -> None:
        """Find out whether the store works."""

    async def measure(self) -> StoreGauges:
        """Measure what concerns all engines on the store."""
        ...

    async def audit(self) -> Audit:
        """Recompute every invariant from the journal and compare; it runs beside traffic."""
        ...
