"""The mailbox of an actor: a bounded queue of envelopes."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from dataclasses import dataclass
from typing import Any

from technopay.engine.commands import Command
from technopay.engine.errors import Overloaded
from technopay.engine.ports import Outcome


@dataclass(frozen=True, slots=True)
class Envelope:
    """A command, where its outcome goes, and by when it has to begin (monotonic seconds)."""

    command: Command
    reply: Future[Outcome[Any]]
    deadline: float


class Mailbox:
    """First in, first out, and never more than `capacity` from askers."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._envelopes: deque[Envelope] = deque()

    def __len__(self) -> int:
        return len(self._envelopes)

    def put(self, envelope: Envelope, *, always: bool = False) -> None:
        """Add an envelope; `always` is for the completion of what was accepted before.

        Raises:
            Overloaded: it is full.

        """
        if not always and len(self._envelopes) >= self._capacity:
            raise Overloaded
        self._envelopes.append(envelope)

    def take(self) -> Envelope | None:
        """Take the oldest envelope, or None when there is none."""
        return self._envelopes.popleft() if self._envelopes else None
