"""One connection to the store: calls leave once per loop tick, replies come back in the order of the calls.

hiredis packs and parses under an asyncio protocol. A call whose script the server has forgotten is sent again
behind the script itself: NOSCRIPT means that nothing ran.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hiredis

from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.outage import Outage
from technopay.storage.scripts.loader import Script

logger = logging.getLogger(__name__)

CALLS_PER_WRITE_MAX = 32
"""So many calls leave at once: the store works on them while this tick goes on."""

FINISHING = {"complete_payment", "renew_claims", "set_aside", "take_due", "record_attempt", "mock_settlement"}
"""The scripts that write to a store without memory."""

NOT_EXECUTED = (
    "BUSY ", "LOADING ", "READONLY ", "OOM ", "MISCONF ", "CLUSTERDOWN ", "TRYAGAIN ", "MASTERDOWN ",
    "NOREPLICAS ", "NOSCRIPT ", "NOAUTH ", "WRONGPASS ", "DENIED ", "MOVED ", "ASK ", "CROSSSLOT ",
    "ERR max number of clients reached",
)  # fmt: skip
"""How the error replies begin that say that the script did not run, or was stopped before its first write.

READONLY, OOM, MISCONF and NOREPLICAS come from within a script, too, but only from its first write: a server
that let a script begin to write lets it go on.
"""

KILLED = "Script killed by user with SCRIPT KILL"
"""A script can be killed only as long as it has not written."""

WITHIN_SCRIPT = " script: "
"""What is in the error replies that come from within a script: NOPERM can come from each of its commands."""


@dataclass(slots=True)
class PendingCall:
    """A command, packed, the script that it calls if it does, and who hears its reply or the fault, once.

    With `takes_errors` an error reply is heard as it is.
    """

    script: Script | None
    command: bytes
    hear: Callable[[Any], None]
    takes_errors: bool = False
    sent_at: float = 0.0
    was_loaded: bool = False

    @property
    def finishes(self) -> bool:
        """Whether this only works on what was begun; no money that was taken waits for memory."""
        return self.script is not None and self.script.name in FINISHING

    def tell(self, reply: Any) -> None:
        """Let the reply be heard. Whoever cannot take it must not cost the others theirs."""
        try:
            self.hear(reply)
        except Exception:
            logger.exception("a reply could not be taken")


class PipelinedConnection(asyncio.Protocol):
    """Writes once per loop tick, in parts when there is much, and never waits for a reply before it writes.

    When the oldest reply is overdue the connection is given up: all that came after it is late, too.
    """

    def __init__(self, reply_timeout_s: float, refusals: Outage | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._reply_timeout_s = reply_timeout_s
        self._refusals = refusals
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._unsent: list[PendingCall] = []
        self._sent: deque[PendingCall] = deque()
        self._loads: dict[str, float] = {}
        self._watchdog: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether every call has heard that the connection is gone."""
        return self._transport is None

    @property
    def calls(self) -> int:
        """How many calls have no reply yet."""
        return len(self._sent) + len(self._unsent)

    def take_over(self, transport: asyncio.Transport) -> None:
        """Take a transport from whoever connected it."""
        self._transport = transport
        transport.set_protocol(self)

    def send(self, call: PendingCall) -> None:
        """Send a call with all others of this loop tick, behind those that were sent before."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(call)
        if len(self._unsent) == CALLS_PER_WRITE_MAX:
            self._flush()

    def load(self, script: Script) -> None:
        """Have the server know a script before the calls that are sent behind this."""
        self._loads[script.library.name] = self._loop.time()
        self.send(PendingCall(None, pack("FUNCTION", "LOAD", script.library.text), ignore))

    async def drain(self) -> None:
        """Wait until every call has its outcome; the watchdog bounds it."""
        self._drained = self._loop.create_future()
        if self.calls:
            await self._drained

    def abort(self) -> None:
        """Give the connection up; what has no reply yet is lost."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand each reply to its call, in the order of the calls."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._answer(self._sent.popleft(), reply)
            self._tell_if_drained()
        except (hiredis.ProtocolError, IndexError):
            logger.exception("what the store sends is not in its protocol")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every call that has no reply what became of it."""
        self._transport = None
        if self._watchdog is not None:
            self._watchdog.cancel()
        for call in self._sent:
            call.tell(fault(OutcomeUnknown(), exc))
        self._sent.clear()
        self._refuse_unsent(exc)
        self._tell_if_drained()

    def _flush(self) -> None:
        if not self._unsent:
            return
        if self._transport is None:
            self._refuse_unsent(None)
            return
        if self._transport.is_closing():
            return  # the connection is lost: what was sent before hears of it first
        now = self._loop.time()
        for call in self._unsent:
            call.sent_at = now
        self._sent += self._unsent
        self._transport.writelines([call.command for call in self._unsent])
        self._unsent = []
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._reply_timeout_s, self._watch)

    def _answer(self, call: PendingCall, reply: Any) -> None:
        if call.takes_errors or not isinstance(reply, hiredis.ReplyError):
            call.tell(reply)
            return
        text = str(reply)
        if call.script and text.startswith("ERR Function not found") and not call.was_loaded:
            call.was_loaded = True
            # One load serves all calls that had been sent before it.
            if self._loads.get(call.script.library.name, 0.0) <= call.sent_at:
                self.load(call.script)
            self.send(call)
        else:
            error = error_for(text)
            if self._refusals and isinstance(error, StoreUnavailable):
                self._refusals.fail(text)
            call.tell(fault(error, reply))

    def _tell_if_drained(self) -> None:
        if self._drained is not None and not self.calls and not self._drained.done():
            self._drained.set_result(None)

    def _watch(self) -> None:
        """Look whether the oldest reply is overdue."""
        self._watchdog = None
        if not self._sent:
            return
        left_s = self._sent[0].sent_at + self._reply_timeout_s - self._loop.time()
        if left_s <= 0:
            logger.debug("the store did not answer within %g s", self._reply_timeout_s)
            self.abort()
        else:
            self._watchdog = self._loop.call_later(left_s, self._watch)

    def _refuse_unsent(self, cause: Exception | None) -> None:
        unsent, self._unsent = self._unsent, []
        for call in unsent:
            call.tell(fault(StoreUnavailable(), cause))


def pack(*words: str | int) -> bytes:
    """Pack a command as the store's protocol wants it."""
    return bytes(hiredis.pack_command(words))  # type: ignore[arg-type]


def error_for(text: str) -> StoreUnavailable | InternalError:
    """Answer what an error reply means: the script did not run, or it has a defect."""
    if text.startswith(NOT_EXECUTED) or KILLED in text:
        return StoreUnavailable()
    if text.startswith("NOPERM ") and WITHIN_SCRIPT not in text:
        return StoreUnavailable()
    logger.error("a script failed: %s", text)
    return InternalError()


def fault(error: Fault, cause: BaseException | None) -> Fault:
    """Answer a fault with its cause."""
    error.__cause__ = cause
    return error


def ignore(reply: object) -> None:
    """Hear nothing."""
