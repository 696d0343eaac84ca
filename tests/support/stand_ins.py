"""What stands in for the parts around a unit of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.scenes import SECRET

from technopay.engine import Fault, Payment
from technopay.engine.actors.actor import Actor, ActorContext
from technopay.engine.actors.mailbox import Envelope
from technopay.engine.commands import (
    Command,
    CompletePayment,
    Deposit,
    FindPayment,
    RenewClaims,
    SetAside,
)
from technopay.engine.models import from_ms
from technopay.engine.ports import Outcome
from technopay.engine.settings import key_id_of
from technopay.engine.values import Lease, NotificationContext, Operation

Result = Outcome[Any] | Fault
Reply = asyncio.Future[Outcome[Any]]

CREATED_AT_MS = 1_783_252_800_000
SLEEPS_MAX = 10_000


class ManualClock:
    """The engine's clock: it stands still, and a sleep is a step ahead."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        assert len(self.slept) < SLEEPS_MAX, "this goes on for ever"
        self.now += delay_s
        await asyncio.sleep(0)


def make_command(name: str = "command") -> Command[Any]:
    """Make a command that a test knows by its name."""
    return Deposit(Operation(name), "wal_001", 1)


@dataclass(frozen=True, slots=True)
class Sent:
    """A command under way, with its lease, and the callback for its result."""

    name: str
    lease: Lease
    on_result: Callable[[Result], None]


class ScriptedStore:
    """Of a store, what actors need of it: commands stay under way until a test answers them.

    With `always`, each is answered so in the next tick of the loop. While `error` is set, nothing can be sent.
    """

    def __init__(self, always: Result | None = None) -> None:
        self.always = always
        self.error: Exception | None = None
        self.sent: list[Sent] = []
        self.under_way: list[Sent] = []

    @property
    def names(self) -> list[str]:
        """The names of all commands that were sent, in their order."""
        return [sent.name for sent in self.sent]

    def runs(self, name: str) -> int:
        """How often a command was sent."""
        return self.names.count(name)

    def send(self, command: Command[Any], lease: Lease, on_result: Callable[[Result], None]) -> None:
        if self.error:
            raise self.error
        assert isinstance(command, Deposit)
        sent = Sent(command.operation.operation_id, lease, on_result)
        self.sent.append(sent)
        if self.always is None:
            self.under_way.append(sent)
        else:
            asyncio.get_running_loop().call_soon(on_result, self.always)

    def answer(self, *results: Result) -> None:
        """Answer the commands that are under way, the oldest first, one with each."""
        for result in results:
            self.under_way.pop(0).on_result(result)

    def answer_all(self, result: Result) -> None:
        """Answer all commands that are under way now in the same way."""
        self.answer(*[result] * len(self.under_way))


class Stage:
    """An actor with a store that a test answers for, and a clock that a test moves."""

    def __init__(self, capacity: int = 1_000) -> None:
        self.store = ScriptedStore()
        self.clock = ManualClock()
        self.passivated: list[str] = []
        store: Any = self.store
        context = ActorContext(store, self.clock, "owner", capacity, self.passivated.append)
        self.actor = Actor(context, "wal_001")

    def put(
        self,
        name: str,
        *,
        deadline_s: float = float("inf"),
        on_outcome: Callable[[Outcome[Any]], None] | None = None,
    ) -> Reply:
        """Put a command into the mailbox; it has to begin within `deadline_s`."""
        reply: Reply = asyncio.get_running_loop().create_future()
        self.actor.put(Envelope(make_command(name), reply, self.clock.now + deadline_s, on_outcome))
        return reply

    def put_all(self, names: str) -> list[Reply]:
        """Put several commands, each with a name of one letter."""
        return [self.put(name) for name in names]

    def go_together(self, names: str) -> list[Reply]:
        """Put several commands behind one that brings the token '7' and one that takes the lease."""
        self.put_all("12")
        replies = self.put_all(names)
        self.store.answer(Outcome("ok", token="7"))
        self.store.sent.clear()
        self.store.answer(Outcome("ok", token="7"))
        return replies


async def settle() -> None:
    """Let pauses end and replies arrive; the clock makes pauses short."""
    for _ in range(5):
        await asyncio.sleep(0)


def make_payment(**changes: Any) -> Payment:
    """Make a payment that is processing, unless something else is said."""
    fields: dict[str, Any] = {
        "id": "pay_001",
        "invoice_id": "inv_001",
        "wallet_id": "wal_001",
        "user_id": "alice",
        "amount": 1_234,
        "currency": "EUR",
        "merchant": "bookshop",
        "status": "processing",
        "created_at": from_ms(CREATED_AT_MS),
        "paid_at": None,
        "settled_at": None,
        "balance_before": None,
        "balance_after": None,
        "confirmation": None,
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [],
        "set_aside": False,
    }
    return Payment(**(fields | changes))


def make_context(**changes: Any) -> NotificationContext:
    """Make the context of a payment that waits for its code, unless something else is said."""
    fields: dict[str, Any] = {
        "payment_id": "pay_001",
        "user_id": "alice",
        "amount": 1_234,
        "currency": "EUR",
        "merchant": "bookshop",
        "status": "requires_confirmation",
        "method": "email",
        "code_version": 1,
        "key_id": key_id_of(SECRET),
        "email": "alice@example.com",
        "phone": "+15550100",
    }
    return NotificationContext(**(fields | changes))


class ClaimingStore:
    """Of a store, what settlements need of it."""

    partitions = (0,)

    def __init__(self, clock: ManualClock | None = None) -> None:
        self._clock = clock
        self.claim = "1"
        self.renewed: list[tuple[float, str, bool]] = []
        self.asides: list[tuple[str, int]] = []
        self.completed: list[tuple[str, str, str]] = []
        self.error: Fault | None = None

    async def run(self, command: Command[Any]) -> Outcome[Any]:
        await asyncio.sleep(0)
        match command:
            case RenewClaims():
                now = self._clock.now if self._clock else 0
                self.renewed += [(now, claim.token, command.keep) for claim in command.claims]
                return Outcome("ok", [claim.token == self.claim for claim in command.claims])
            case SetAside():
                self.asides.append((command.payment_id, command.interval_ms))
                return Outcome("ok" if command.claim == self.claim else "fenced")
            case FindPayment():
                return Outcome("ok", make_payment(set_aside=True))
            case CompletePayment():
                return self._complete(command)
        raise AssertionError(command)

    def _complete(self, command: CompletePayment) -> Outcome[Payment]:
        if self.error:
            raise self.error
        if command.claim != self.claim:
            return Outcome("claim_lost")
        self.completed.append((command.payment_id, command.claim, command.verdict))
        if command.verdict == "settled":
            return Outcome("ok", details={"settled_at": from_ms(CREATED_AT_MS)})
        return Outcome("ok", make_payment(status="failed"))
