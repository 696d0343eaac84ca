"""The client of a server: it connects on demand, and runs scripts in order."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from technopay.engine.errors import StoreUnavailable, StoreUnfit
from technopay.engine.outage_log import OutageLog
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.loader import Library, Script
from technopay.storage.server.address import HostPort, parse_address, shown_address
from technopay.storage.server.connection import (
    Command,
    PendingCall,
    PipelinedConnection,
    connect,
    pack,
    pack_call,
)
from technopay.storage.server.health import HealthCheck, NotPrimary, ServerInfo, StoreFull, info_of
from technopay.storage.server.reasons import meaning_of
from technopay.storage.server.replication import Acknowledgements, ReplicaWait
from technopay.storage.server.sentinel import find_primary

logger = logging.getLogger(__name__)

Argument = str | int
OnResult = Callable[[Any], None]
"""Gets a reply or a fault."""

OTHER_LOOP = "the store was opened in another event loop; nothing happened"
CALLS_MAX = 20_000
"""The bound of calls without a reply; one more is refused."""


class Client(Protocol):
    """Runs scripts and commands in the order in which they are sent; never replies before `send` returned."""

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        """Send a script. `on_result` gets its reply, later and once.

        Or a fault instead: StoreUnavailable (it was not executed), OutcomeUnknown (it may have been
        executed), InternalError (it has a defect).
        """
        ...

    def send_command(self, command: Command, on_result: OnResult) -> None:
        """Send a command that only reads, in the same way."""
        ...


class StoreClient(Protocol):
    """Has a client for each partition."""

    is_cluster: bool

    def of(self, keys: Keys, /) -> Client:
        """Return the client of the partition with these keys."""
        ...


class ServerClient:
    """Connects to a server on demand; all calls of a loop tick leave together.

    With a health check it is a gate, too: each new connection is checked before the first call, and while the
    store is unfit every call is refused. With a wait for replicas, replies are held. `at` is the address of a
    node of a cluster.
    """

    is_cluster = False

    def __init__(
        self,
        url: str,
        *,
        library: Library | None = None,
        reply_timeout_s: float,
        health: HealthCheck | None = None,
        replica_wait: ReplicaWait | None = None,
        at: HostPort | None = None,
    ) -> None:
        self._address = parse_address(url)
        self._at = at
        self._urls: ConnectionPool = ConnectionPool.from_url(self._address.url)
        self._library = library
        self._reply_timeout_s = reply_timeout_s
        self._health = health
        self._replica_wait = replica_wait
        self._acknowledgements: Acknowledgements | None = None
        self._loop = asyncio.get_running_loop()
        self._unsent: list[PendingCall] = []
        self._connecting: asyncio.Task[Exception | None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._unfit: StoreUnfit | None = None
        self._misfit = OutageLog(logger, "the store must not be used any more", "the store may be used again")
        self._outage = OutageLog(logger, "the store cannot be reached", "the store is back")
        self._refusals = OutageLog(logger, "the store refuses calls", "the store takes calls again")
        self._connection: PipelinedConnection | None = None
        self._closed = False

    def of(self, _: Keys) -> "ServerClient":
        return self

    @property
    def servers(self) -> "Sequence[ServerClient]":
        return (self,)

    def sample(self) -> Sequence[int]:
        """Return a partition of each server."""
        return (0,)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.is_lost

    @property
    def server_info(self) -> ServerInfo | None:
        """What the server showed of itself at the last check."""
        return self._health.server_info if self._health else None

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        self.send_call(PendingCall(script, pack_call(script, keys, arguments), on_result))

    def send_command(self, command: Command, on_result: OnResult) -> None:
        self.send_call(PendingCall(None, pack(command), on_result))

    def watch(self, interval_s: float) -> None:
        """Check the store at this interval from now on, and log when it becomes unfit, or fit again."""
        self._watching = self._loop.create_task(self._watch(interval_s), name="store watch")

    async def check(self, *, all_partitions: bool = False) -> None:
        """Check the store now; connect if need be.

        Raises:
            StoreUnfit: it must not be used.
            StoreUnavailable: it cannot be reached, or does not reply.

        """
        connection = self._connection
        if connection is None or connection.is_lost:
            error = await asyncio.shield(self._connect_once())
        else:
            error = await self._check(connection, is_new=all_partitions)
        if isinstance(error, StoreUnfit):
            raise error
        if error is not None:
            raise StoreUnavailable(f"The store cannot be reached: {self._reason(error)}") from error

    async def aclose(self) -> None:
        """Wait for pending replies, then disconnect."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._connecting is not None:
            await self._connecting
        if self._connection is not None:
            await self._connection.aclose()
            self._connection = None
        if self._acknowledgements is not None:
            await self._acknowledgements.aclose()
        if self._health is not None:
            self._health.forget()

    def send_call(self, call: PendingCall) -> None:
        """Send a packed call."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(OTHER_LOOP)
        connection = self._connection
        if self._unfit is not None:
            finishes = call.script is not None and call.script.finishes
            if not (finishes and isinstance(self._unfit, StoreFull)):
                self._loop.call_soon(call.complete, refusal(self._unfit))
                return
        # Until every call on a lost connection has failed, do not reconnect: a new call could overtake them.
        if connection is not None and not connection.is_lost:
            held = self._acknowledgements.held if self._acknowledgements else 0
            if connection.calls + held < CALLS_MAX:
                self._send_on(connection, call)
                return
        elif not self._closed and len(self._unsent) < CALLS_MAX:
            self._unsent.append(call)
            self._connect_once()
            return
        self._loop.call_soon(call.complete, StoreUnavailable())

    def _send_on(self, connection: PipelinedConnection, call: PendingCall) -> None:
        """Send a call; with a wait for replicas, its reply is held."""
        if self._acknowledgements is not None:
            call.on_reply = partial(self._acknowledgements.on_reply, call.script, call.on_reply)
        connection.send(call)

    async def _watch(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            if self._acknowledgements is not None and self._acknowledgements.is_lost and self._connection:
                self._connection.abort()
                await asyncio.sleep(0)  # until it counts as lost
            try:
                await self.check()
            except (StoreUnfit, StoreUnavailable):
                continue  # it is logged, and calls are refused meanwhile
            except Exception as error:
                self._outage.fail(repr(error), exc_info=True)
                continue
            self._refusals.end(quiet_s=interval_s)

    def _connect_once(self) -> asyncio.Task[Exception | None]:
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        return self._connecting

    async def _connect(self) -> Exception | None:
        """Connect, check, and send the calls that wait in their order; refuse them if either fails."""
        error: Exception | None = None
        connection = self._connection = None
        try:
            at = self._at or await find_primary(self._address)
            connection = await connect(self._urls, self._reply_timeout_s, self._refusals, at=at)
            error = await self._check(connection, is_new=True)
            if not isinstance(error, StoreUnavailable):
                # A library that had to be loaded later would let calls overtake the first one.
                if self._library is not None:
                    connection.load(self._library)
                if self._replica_wait is not None:
                    await self._hold_replies(connection, self._replica_wait, at)
                self._connection = connection
        except (RedisError, OSError, TimeoutError, StoreUnavailable) as failure:
            error = failure
            self._note_outage(failure)
        finally:
            if connection is not None and self._connection is None:
                connection.abort()
            unsent, self._unsent, self._connecting = self._unsent, [], None
            for call in unsent:
                if self._connection is None or error is not None:
                    call.complete(refusal(error))
                else:
                    self._send_on(self._connection, call)
        return error

    async def _hold_replies(
        self, connection: PipelinedConnection, wait: ReplicaWait, at: HostPort | None
    ) -> None:
        """Open the second connection, which has to reach the same server; the first one ends with it."""
        if self._acknowledgements is not None:
            self._acknowledgements.abort()
        second = await connect(self._urls, wait.reply_timeout_s, at=at)
        try:
            replies = [await each.request([("INFO", "server")]) for each in (connection, second)]
            if len({info_of(reply)["run_id"] for [reply] in replies}) > 1:
                raise StoreUnavailable("two connections to the store reach two servers")
        except BaseException:
            second.abort()
            raise
        self._acknowledgements = Acknowledgements(second, wait, connection.abort)

    async def _ask_at(self, host: str, port: int, command: Command) -> Any:
        """Send one command to another server, with the sign-in of the URL."""
        connection = await connect(self._urls, self._reply_timeout_s, at=(host, port))
        try:
            return (await connection.request([command]))[0]
        finally:
            connection.abort()

    async def _check(
        self, connection: PipelinedConnection, *, is_new: bool = False
    ) -> StoreUnfit | StoreUnavailable | None:
        """Check the store on a connection; close the gate if it is unfit, open it when it is fit again."""
        unfit: StoreUnfit | None = None
        try:
            if self._health is not None:
                await self._health.check(connection.request, self._ask_at, is_new=is_new)
        except StoreUnfit as error:
            unfit = error
            if isinstance(error, NotPrimary):
                connection.abort()  # the next connection may reach the primary
        except StoreUnavailable as error:
            self._note_outage(error)
            return error
        self._outage.end()
        if unfit is None:
            self._misfit.end()
        elif self._watching is not None:
            self._misfit.fail(unfit)
        self._unfit = unfit
        return unfit

    def _note_outage(self, error: Exception) -> None:
        # Before the store is watched, the call that opens it raises the reason.
        if self._watching is not None and not self._closed:
            self._outage.fail(self._reason(error))

    def _reason(self, error: Exception) -> str:
        shown = shown_address(*self._at) if self._at else self._address.shown
        return f"{shown}: {meaning_of(error)}"


def refusal(reason: Exception | None) -> StoreUnavailable:
    """Return the fault of a call that was not sent."""
    is_unfit = isinstance(reason, StoreUnfit)
    refused = StoreUnavailable(
        f"The store must not be used now: {reason}. Nothing happened." if is_unfit else None
    )
    refused.__cause__ = reason
    return refused
