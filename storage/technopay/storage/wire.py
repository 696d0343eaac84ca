"""One connection to the store: calls leave once per loop tick, replies come back in the order of the calls.

hiredis packs and parses under an asyncio protocol. A call whose script the server has forgotten is sent again
behind the script itself: NOSCRIPT means that nothing ran.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from technopay.engine.errors import InternalError, StoreUnavailable
from technopay.storage.scripts import Script

logger = logging.getLogger(__name__)

NOT_EXECUTED = (
    "BUSY ", "LOADING ", "READONLY ", "OOM ", "MISCONF ", "CLUSTERDOWN ", "TRYAGAIN ", "MASTERDOWN ",
    "NOREPLICAS ",
)  # fmt: skip
"""How the error replies begin that say that the script did not run."""


class LostReplyError(Exception):
    """Raised when a call was or may have been sent and its reply did not come: the outcome is unknown."""


@dataclass(slots=True)
class Call:
    """A script with its arguments, packed, and where its reply goes. `script` is None for a load of ours."""

    script: Script | None
    command: bytes
    reply: asyncio.Future[Any] | None
    sent_at: float = 0.0
    was_loaded: bool = False


class Wire(asyncio.Protocol):
    """Writes once per loop tick and never waits for a reply before the next write.

    When the oldest reply is overdue the connection is given up: all that came after it is late, too.
    """

    def __init__(self, journal: str, reply_timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._reply_timeout_s = reply_timeout_s
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._unsent: list[Call] = []
        self._sent: deque[Call] = deque()
        self._loads: dict[str, float] = {}
        self._watchdog: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def calls(self) -> int:
        """How many calls have no reply yet."""
        return len(self._sent) + len(self._unsent)

    def take_over(self, transport: asyncio.Transport) -> None:
        """Take a transport from whoever connected it."""
        self._transport = transport
        transport.set_protocol(self)

    def send(self, script: Script, arguments: Sequence[str | int]) -> asyncio.Future[Any]:
        """Send a call with all others of this loop tick; answer where its reply will be."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        command = pack("EVALSHA", script.sha, 1, self._journal, *arguments)
        self._enqueue(Call(script, command, reply))
        return reply

    async def drain(self) -> None:
        """Wait until every call has its outcome; the watchdog bounds it."""
        if replies := [call.reply for call in (*self._sent, *self._unsent) if call.reply is not None]:
            await asyncio.wait(replies)

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
        except (hiredis.ProtocolError, IndexError):
            logger.exception("what the store sends is not in its protocol")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every call that has no reply what became of it."""
        self._transport = None
        if self._watchdog is not None:
            self._watchdog.cancel()
        for call in self._sent:
            settle(call, LostReplyError(), exc)
        self._sent.clear()
        self._refuse_unsent(exc)

    def _enqueue(self, call: Call) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(call)

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing():
            self._refuse_unsent(None)
            return
        now = self._loop.time()
        for call in self._unsent:
            call.sent_at = now
        self._sent += self._unsent
        self._transport.writelines([call.command for call in self._unsent])
        self._unsent = []
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._reply_timeout_s, self._watch)

    def _answer(self, call: Call, reply: Any) -> None:
        if call.script is None or call.reply is None:
            return
        if not isinstance(reply, hiredis.ReplyError):
            if not call.reply.done():
                call.reply.set_result(reply)
            return
        text = str(reply)
        if text.startswith("NOSCRIPT") and not call.was_loaded:
            call.was_loaded = True
            # One load serves all calls that had been sent before it.
            if self._loads.get(call.script.sha, 0.0) <= call.sent_at:
                self._loads[call.script.sha] = self._loop.time()
                self._enqueue(Call(None, pack("SCRIPT", "LOAD", call.script.text), None))
            self._enqueue(call)
        else:
            settle(call, error_for(text), reply)

    def _watch(self) -> None:
        """Look whether the oldest reply is overdue."""
        self._watchdog = None
        if not self._sent:
            return
        left_s = self._sent[0].sent_at + self._reply_timeout_s - self._loop.time()
        if left_s <= 0:
            logger.warning("the store did not answer within %g s", self._reply_timeout_s)
            self.abort()
        else:
            self._watchdog = self._loop.call_later(left_s, self._watch)

    def _refuse_unsent(self, cause: Exception | None) -> None:
        unsent, self._unsent = self._unsent, []
        for call in unsent:
            settle(call, StoreUnavailable(), cause)


def pack(*words: str | int) -> bytes:
    """Pack a command as the store's protocol wants it."""
    return bytes(hiredis.pack_command(words))  # type: ignore[arg-type]


def error_for(text: str) -> StoreUnavailable | InternalError:
    """Answer what an error reply means: the script did not run, or it has a defect."""
    if text.startswith((*NOT_EXECUTED, "NOSCRIPT ")):
        return StoreUnavailable()
    logger.error("a script failed: %s", text)
    return InternalError()


def settle(call: Call, error: Exception, cause: BaseException | None) -> None:
    """Give a call an error, unless its caller left."""
    if call.reply is not None and not call.reply.done():
        error.__cause__ = cause
        call.reply.set_exception(error)
