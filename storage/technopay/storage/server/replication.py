"""Holds replies until replicas have what they show.

WAIT counts the writes of its own connection only. So a small write and a WAIT on a second connection to the
same server follow each batch of replies: a replica that has this write has all earlier ones. A replica with
`appendfsync always` acknowledges after its fsync (WAITAOF would wait for the next second).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from technopay.engine.errors import Fault, OutcomeUnknown
from technopay.storage.scripts.loader import Script
from technopay.storage.server.connection import (
    ELSEWHERE,
    PendingCall,
    PipelinedConnection,
    complete,
    pack,
    pack_call,
)

logger = logging.getLogger(__name__)

OnResult = Callable[[Any], None]

SLACK_S = 0.1
"""How much longer than its WAIT a write may take."""
WRITES_MAX = 3
"""The bound of writes for one batch."""
HEALTH_LOOKS = frozenset({"read_meta"})
NOTHING = frozenset({"nothing", "busy"})
"""Codes of replies that neither took nor show anything."""


class ReplicaWait(NamedTuple):
    """How many replicas have to acknowledge what a reply shows, and how long it waits for them."""

    replicas: int
    wait_ms: int
    script: Script
    """The small write."""
    keys: Callable[[], Sequence[str]]
    """Returns the keys of a partition of the server, another one each time where it has several."""

    @property
    def reply_timeout_s(self) -> float:
        return self.wait_ms / 1000 + SLACK_S


@dataclass(slots=True)
class Batch:
    replies: list[tuple[OnResult, Any]] = field(default_factory=list)
    written: Any = None
    """The reply of the write."""
    writes: int = 0


class Acknowledgements:
    """Holds the replies of a connection. While one batch waits, the next one gathers: a group commit.

    A reply waits for at most two batches. Without enough replicas in time, its outcome is unknown: the caller
    asks again, and a store that lost the step repeats it.
    """

    def __init__(
        self, connection: PipelinedConnection, wait: ReplicaWait, on_failure: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._wait = wait
        self._on_failure = on_failure
        self._gathering = Batch()
        self._waiting: Batch | None = None

    @property
    def is_lost(self) -> bool:
        return self._connection.is_lost

    @property
    def held(self) -> int:
        """The number of replies that wait."""
        return len(self._gathering.replies) + len(self._waiting.replies if self._waiting else ())

    def on_reply(self, script: Script | None, on_result: OnResult, reply: Any) -> None:
        """Pass a reply on, at once or when enough replicas have acknowledged a later write."""
        if not is_held(script, reply):
            on_result(reply)
            return
        self._gathering.replies.append((on_result, reply))
        if self._waiting is None and len(self._gathering.replies) == 1:
            self._loop.call_soon(self._begin)  # with all replies of this loop tick

    async def aclose(self) -> None:
        """Wait for the held replies (WAIT and the watchdog bound it), then disconnect."""
        await self._connection.aclose()

    def abort(self) -> None:
        self._connection.abort()

    def _begin(self) -> None:
        batch = self._waiting = self._gathering
        self._gathering = Batch()
        self._write(batch)

    def _write(self, batch: Batch) -> None:
        batch.writes += 1
        wait, send = self._wait, self._connection.send
        send(PendingCall(wait.script, pack_call(wait.script, wait.keys(), ()), partial(_note, batch)))
        send(PendingCall(None, pack(("WAIT", wait.replicas, wait.wait_ms)), partial(self._end, batch)))

    def _end(self, batch: Batch, acknowledged: int | Fault) -> None:
        is_elsewhere = isinstance(batch.written, Fault) and str(batch.written.__cause__).startswith(ELSEWHERE)
        if is_elsewhere and batch.writes < WRITES_MAX and not isinstance(acknowledged, Fault):
            self._write(batch)  # for another partition of the server
            return
        # A write that failed, or came later because its script had to be loaded, proves nothing.
        replicas = 0 if isinstance(acknowledged, Fault) else acknowledged
        is_written = batch.written is not None and not isinstance(batch.written, Fault)
        is_proved = is_written and replicas >= self._wait.replicas
        if not is_proved:
            logger.debug("%d replies were not acknowledged: %r", len(batch.replies), acknowledged)
        self._waiting = None
        if self._gathering.replies:
            self._begin()
        for on_result, reply in batch.replies:
            complete(on_result, reply if is_proved else OutcomeUnknown())
        if isinstance(acknowledged, Fault):
            self._on_failure()


def _note(batch: Batch, reply: Any) -> None:
    batch.written = reply


def is_held(script: Script | None, reply: Any) -> bool:
    """Whether a reply has to wait. Health looks and idle polls do not: they must not become writes."""
    if isinstance(reply, Fault):
        return False
    if script is None:
        return bool(reply)  # a read of the journal
    if script.name == "take_due":
        return bool(reply[3] or reply[4])  # payments or messages
    return script.name not in HEALTH_LOOKS and reply[0] not in NOTHING
