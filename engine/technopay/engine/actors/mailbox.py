"""The mailbox of an actor: a bounded queue of envelopes."""

from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from technopay.engine.commands import Command
from technopay.engine.errors import Overloaded
from technopay.engine.ports import Outcome


@dataclass(slots=True, eq=False)
class Envelope:
    """A command, the future of its outcome, and the deadline for sending it (monotonic seconds).

    `on_outcome` gets the outcome, too, even if the caller has left. `resolve_by` is the deadline of the outcome
    after a lost reply. `was_busy` is set once another process had the wallet. `context` has its span.
    """

    command: Command[Any]
    reply: Future[Outcome[Any]]
    deadline: float
    on_outcome: Callable[[Outcome[Any]], None] | None = None
    resolve_by: float | None = None
    was_busy: bool = False
    context: Context | None = None


class Mailbox:
    """First in, first out, at most `capacity`."""

    __slots__ = ("_capacity", "_envelopes")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Most commands are sent at once and need no queue.
        self._envelopes: deque[Envelope] | None = None

    def __len__(self) -> int:
        return len(self._envelopes) if self._envelopes else 0

    def put(self, envelope: Envelope) -> None:
        """Add an envelope.

        Raises:
            Overloaded: it is full.

        """
        if len(self) >= self._capacity:
            raise Overloaded
        if self._envelopes is None:
            self._envelopes = deque()
        self._envelopes.append(envelope)

    def put_back(self, envelopes: Iterable[Envelope]) -> None:
        """Put taken envelopes back to the front, in order."""
        self._envelopes = deque([*envelopes, *(self._envelopes or ())])

    def take(self) -> Envelope | None:
        """Take the oldest envelope, or None when there is none."""
        return self._envelopes.popleft() if self._envelopes else None
