"""One connection to the server: calls leave once per loop tick, replies come back in the order of the calls.

redis-py only reads the URL, asyncio connects, hiredis packs and parses; nothing private of them is used. A call
whose script the server has forgotten is sent again behind the script itself: then nothing ran.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import hiredis
from redis.asyncio import ConnectionPool, SSLConnection, UnixDomainSocketConnection

from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.outage_log import OutageLog
from technopay.storage.scripts.loader import Library, Script

logger = logging.getLogger(__name__)

Command = tuple[str | int, ...]

CALLS_PER_WRITE_MAX = 32
"""Calls per write: the server works on them while this tick goes on."""

NOT_EXECUTED = (
    "BUSY ", "LOADING ", "READONLY ", "OOM ", "MISCONF ", "CLUSTERDOWN ", "TRYAGAIN ", "MASTERDOWN ",
    "NOREPLICAS ", "UNBLOCKED ", "NOAUTH ", "WRONGPASS ", "DENIED ", "MOVED ", "ASK ", "CROSSSLOT ",
    "ERR max number of clients reached", "ERR WAIT cannot be used with replica instances",
)  # fmt: skip
"""Error replies with these prefixes mean that the script did not run, or was stopped before its first write.

READONLY, OOM, MISCONF and NOREPLICAS come from within a script, too, but only from its first write.
"""

MOVED = "MOVED "
"""Another node of the cluster has the slot: the call is sent to it."""
ELSEWHERE = (MOVED, "ASK ", "TRYAGAIN ")
"""Error replies with these prefixes mean that another node has the slot, or will have it."""
NOT_LOADED = "ERR Function not found"
LOADS_MAX = 8
"""For one call: another client can flush the functions between the load and the call."""
KILLED = "Script killed by user with "
"""Only a script without a write can be killed: by SCRIPT KILL in Redis, FUNCTION KILL in Valkey."""

WITHIN_SCRIPT = " script: "
"""Marks error replies from within a script. NOPERM can come from any of its commands, also after a write."""


@dataclass(slots=True)
class PendingCall:
    """A packed command without a reply yet. `on_reply` gets the reply or a fault, once.

    With `takes_errors` it gets an error reply as it is.
    """

    script: Script | None
    command: bytes
    on_reply: Callable[[Any], None]
    takes_errors: bool = False
    sent_at: float = 0.0
    loads: int = 0

    def complete(self, reply: Any) -> None:
        complete(self.on_reply, reply)


class PipelinedConnection(asyncio.Protocol):
    """Writes once per loop tick, in parts when there is much, and never waits for a reply before it writes.

    When the oldest reply is overdue the connection is aborted: all later replies are late, too.
    """

    def __init__(self, reply_timeout_s: float, refusals: OutageLog | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._reply_timeout_s = reply_timeout_s
        self._refusals = refusals
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._unsent: list[PendingCall] = []
        self._sent: deque[PendingCall] = deque()
        self._loaded_at = 0.0
        self._watchdog: asyncio.TimerHandle | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it is disconnected and every call has its outcome."""
        return self._transport is None

    @property
    def calls(self) -> int:
        """The number of calls without a reply."""
        return len(self._sent) + len(self._unsent)

    def send(self, call: PendingCall) -> None:
        """Send a call with all others of this loop tick, behind those that were sent before."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(call)
        if len(self._unsent) == CALLS_PER_WRITE_MAX:
            self._flush()

    def load(self, library: Library) -> None:
        """Load the scripts ahead of the calls that are sent behind this. A library that is there stays."""
        self._loaded_at = self._loop.time()
        self.send(
            PendingCall(None, pack(("FUNCTION", "LOAD", library.text)), lambda _: None, takes_errors=True)
        )

    async def request(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return the reply, error reply or fault of each."""
        replies: list[Any] = []
        all_replied: asyncio.Future[None] = self._loop.create_future()

        def on_reply(reply: Any) -> None:
            replies.append(reply)
            if len(replies) == len(commands) and not all_replied.done():
                all_replied.set_result(None)

        for command in commands:
            self.send(PendingCall(None, pack(command), on_reply, takes_errors=True))
        await all_replied
        return replies

    async def aclose(self) -> None:
        """Wait until every call has its outcome (the watchdog bounds it), then disconnect."""
        while self.calls:
            await self.request([("PING",)])
        self.abort()
        await asyncio.sleep(0)

    def abort(self) -> None:
        """Disconnect now. Calls without a reply fail."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Complete a call with each reply, in the order of the calls."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                call = self._sent.popleft()
                if isinstance(reply, hiredis.ReplyError) and not call.takes_errors:
                    self._on_error_reply(call, reply)
                else:
                    call.complete(reply)
        except (hiredis.ProtocolError, IndexError):
            logger.exception("the store breaks its protocol")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every call: one that was sent may have run, another did not."""
        self._transport = None
        if self._watchdog is not None:
            self._watchdog.cancel()
        for call in self._sent:
            call.complete(fault(OutcomeUnknown(), exc))
        self._sent.clear()
        self._refuse_unsent(exc)

    def _flush(self) -> None:
        if not self._unsent:
            return
        if self._transport is None:
            self._refuse_unsent(None)
            return
        if self._transport.is_closing():
            return  # connection_lost comes: calls that were sent earlier fail first
        now = self._loop.time()
        for call in self._unsent:
            call.sent_at = now
        self._sent += self._unsent
        self._transport.writelines([call.command for call in self._unsent])
        self._unsent = []
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._reply_timeout_s, self._watch)

    def _on_error_reply(self, call: PendingCall, reply: Exception) -> None:
        text = str(reply)
        if call.script and text.startswith(NOT_LOADED) and call.loads < LOADS_MAX:
            call.loads += 1
            # One load serves all calls that had been sent before it.
            if self._loaded_at <= call.sent_at:
                self.load(call.script.library)
            self.send(call)
            return
        error = error_for(text)
        if self._refusals and isinstance(error, StoreUnavailable) and not text.startswith(MOVED):
            self._refusals.fail(text)
        call.complete(fault(error, reply))

    def _watch(self) -> None:
        """Abort the connection if the oldest reply is overdue."""
        self._watchdog = None
        if not self._sent:
            return
        left_s = self._sent[0].sent_at + self._reply_timeout_s - self._loop.time()
        if left_s <= 0:
            logger.debug("the store did not reply within %g s", self._reply_timeout_s)
            self.abort()
        else:
            self._watchdog = self._loop.call_later(left_s, self._watch)

    def _refuse_unsent(self, cause: Exception | None) -> None:
        unsent, self._unsent = self._unsent, []
        for call in unsent:
            call.complete(fault(StoreUnavailable(), cause))


async def connect(
    urls: ConnectionPool,
    reply_timeout_s: float,
    refusals: OutageLog | None = None,
    *,
    at: tuple[str, int] | None = None,
) -> PipelinedConnection:
    """Connect to the server of a URL, or of another address (`at`), sign in and select the database.

    Raises:
        StoreUnavailable, OSError, RedisError, TimeoutError: it failed; see `reason_for`.

    """
    loop = asyncio.get_running_loop()
    # Never connected: it only holds what is in the URL.
    server: Any = urls.make_connection()  # type: ignore[no-untyped-call]
    connection = PipelinedConnection(reply_timeout_s, refusals)
    try:
        async with asyncio.timeout(reply_timeout_s):
            if at is None and isinstance(server, UnixDomainSocketConnection):
                await loop.create_unix_connection(lambda: connection, server.path)
            else:
                tls = server.ssl_context.get() if isinstance(server, SSLConnection) else None
                host, port = at or (server.host, server.port)
                await loop.create_connection(lambda: connection, host, port, ssl=tls)
            for command in _handshake(server):
                [reply] = await connection.request([command])
                if isinstance(reply, Exception):
                    raise StoreUnavailable(str(reply)) from reply
    except BaseException:
        connection.abort()
        raise
    return connection


def _handshake(server: Any) -> Iterator[Command]:
    if server.username:
        yield "AUTH", server.username, server.password or ""
    elif server.password:
        yield "AUTH", server.password
    if server.client_name:
        yield "CLIENT", "SETNAME", server.client_name
    if server.db:
        yield "SELECT", server.db


def complete(on_reply: Callable[[Any], None], reply: Any) -> None:
    """Pass a reply on. A handler that fails must not cost other calls their replies."""
    try:
        on_reply(reply)
    except Exception:
        logger.exception("the handler of a reply failed")


def pack_call(script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
    """Return the call of a script as the server reads it."""
    return pack(("FCALL", script.function, len(keys), *keys, *arguments))


def pack(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


def error_for(text: str) -> StoreUnavailable | InternalError:
    """Return what an error reply means: the script did not run, or it has a defect."""
    if text.startswith((*NOT_EXECUTED, NOT_LOADED)) or KILLED in text:
        return StoreUnavailable()
    if text.startswith("NOPERM ") and WITHIN_SCRIPT not in text:
        return StoreUnavailable()
    logger.error("a script failed: %s", text)
    return InternalError()


def fault(error: Fault, cause: BaseException | None) -> Fault:
    error.__cause__ = cause
    return error
