"""Ports that can kill their own process: just before a request leaves, or when its reply has just arrived.

The product has no hooks for this. Everything is forwarded; each request is counted as a point by its name,
and at one point the process is killed by a real signal.
"""

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from support.fixtures.script_names import script_of

from technopay.engine.commands import Command
from technopay.engine.errors import Fault
from technopay.engine.ports import Channel, Outcome, OutgoingMessage, SettlementService
from technopay.engine.runtime import RELAY_PAUSE_S
from technopay.engine.system import SystemClock
from technopay.engine.testing.mocks import MockSettlement
from technopay.engine.values import Lease, PaymentTerms, RefundTerms
from technopay.storage import RedisStore
from technopay.storage.server.client import Argument

Answer = TypeVar("Answer")

UNCOUNTED = frozenset({"read_mock_inbox", "renew_claims"})
"""Scripts that only the client of a story sends, repeatedly while it waits, and those sent by timers."""


class Point(NamedTuple):
    """A moment in the life of a process: the nth pass of a point."""

    name: str
    nth: int

    def __str__(self) -> str:
        return self.name if self.nth == 1 else f"{self.name} #{self.nth}"


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


class Points:
    """The points that a process passes, and the one at which it dies, or kills another process."""

    def __init__(
        self, write_down: Callable[[Point], None], deadly: Point | None, strike: Callable[[], None] = die
    ) -> None:
        self._write_down = write_down
        self._deadly = deadly
        self._strike = strike
        self._seen: Counter[str] = Counter()
        self.open_questions = 0

    def come_by(self, name: str) -> None:
        """Record a point; strike if it is the chosen one."""
        self._seen[name] += 1
        point = Point(name, self._seen[name])
        self._write_down(point)
        if point == self._deadly:
            self._strike()

    def leave(self, question: str) -> None:
        """Pass the point before a request leaves."""
        self.come_by(f"before {question}")
        self.open_questions += 1

    def arrive(self, question: str) -> None:
        """Pass the point at which the reply to a request has arrived, still unread."""
        self.open_questions -= 1
        self.come_by(f"after {question}")

    async def around(self, question: str, answer: Awaitable[Answer]) -> Answer:
        """Pass both points around a request, with a reply, a failure or a cancellation."""
        self.leave(question)
        try:
            return await answer
        finally:
            self.arrive(question)


def make_killable(store: RedisStore, points: Points) -> None:
    """Make the scripts and commands of a store points."""
    partition: Any = store._partition
    send, fetch = partition.send, partition.fetch

    def send_killably(
        command: Command[Any], lease: Lease | None, on_result: Callable[[Outcome[Any] | Fault], None]
    ) -> None:
        name = script_of(command)
        if name in UNCOUNTED:
            send(command, lease, on_result)
            return
        question = f"{name} {command.action}" if isinstance(command, MockSettlement) else name
        points.leave(question)

        def resolve(result: Outcome[Any] | Fault) -> None:
            points.arrive(question)
            on_result(result)

        send(command, lease, resolve)

    async def fetch_killably(*words: Argument) -> Any:
        return await points.around(str(words[0]).lower(), fetch(*words))

    partition.send, partition.fetch = send_killably, fetch_killably


class KillableSettlementService:
    """A settlement service whose requests are points."""

    def __init__(self, service: SettlementService, points: Points) -> None:
        self._service = service
        self._points = points

    async def settle(self, terms: PaymentTerms) -> Literal["settled", "declined"]:
        return await self._points.around("settle", self._service.settle(terms))

    async def status(
        self, terms: PaymentTerms
    ) -> Literal["settled", "declined", "called_off", "pending", "not_found"]:
        return await self._points.around("status", self._service.status(terms))

    async def call_off(
        self, terms: PaymentTerms
    ) -> Literal["called_off", "already_settled", "already_declined"]:
        return await self._points.around("call_off", self._service.call_off(terms))

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed", "declined"]:
        return await self._points.around("reverse", self._service.reverse(terms, refund))


class KillableChannel:
    """A channel whose deliveries are points. It can refuse the first messages of a kind."""

    def __init__(self, channel: Channel, points: Points, deaf_to: Sequence[str] = ()) -> None:
        self._channel = channel
        self._points = points
        self._deaf_to = list(deaf_to)

    async def deliver(self, message: OutgoingMessage) -> None:
        await self._points.around(f"deliver {message.kind}", self._deliver(message))

    async def _deliver(self, message: OutgoingMessage) -> None:
        if message.kind in self._deaf_to:
            self._deaf_to.remove(message.kind)
            raise ConnectionResetError("the channel is deaf")
        await self._channel.deliver(message)


class KillableClock(SystemClock):
    """A clock whose waits, the back-offs, are points."""

    def __init__(self, points: Points) -> None:
        self._points = points

    async def sleep(self, delay_s: float) -> None:
        if delay_s == RELAY_PAUSE_S:
            await super().sleep(delay_s)  # a pause between reads of the journal, not a step of a payment
        else:
            await self._points.around("back-off", super().sleep(delay_s))
