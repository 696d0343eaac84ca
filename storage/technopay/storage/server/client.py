"""The link to the store: one wire, connected when it is needed; or a fake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from technopay.engine.errors import InternalError, OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.engine.outage import Outage
from technopay.storage.scripts.loader import Script
from technopay.storage.server.connection import PendingCall, PipelinedConnection, error_for, fault, pack
from technopay.storage.server.health import HealthCheck, Question, StoreFull
from technopay.storage.server.reasons import reason_for

logger = logging.getLogger(__name__)

Argument = str | int
OnResult = Callable[[Any], None]
"""Gets a reply, or the fault that came instead of it."""

OTHER_LOOP = "the store was opened in another event loop; nothing happened"
CALLS_MAX = 20_000
"""Calls without a reply; one more is refused."""


class Client(Protocol):
    """A way to run scripts."""

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        """Send a script behind those that were sent before; `on_result` gets its reply, later and once.

        Or a fault instead: StoreUnavailable (it was not executed), OutcomeUnknown (it may have been
        executed), InternalError (it has a defect).
        """
        ...

    def send_command(self, words: Sequence[Argument], on_result: OnResult) -> None:
        """Send a command that only reads, in the same way."""
        ...

    async def aclose(self) -> None:
        """Close the link."""
        ...


def packed_call(script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> bytes:
    """Return the call of a script as the server reads it."""
    return pack("FCALL", script.function, len(keys), *keys, *arguments)


class ServerClient:
    """A link to a real server. redis-py connects: sockets, TLS, sign-in, database number.

    With a health check it is a gate, too: each new connection is checked before any call leaves, and while the
    store is unfit every call is refused.
    """

    def __init__(
        self,
        url: str,
        *,
        scripts: Collection[Script] = (),
        reply_timeout_s: float,
        health: HealthCheck | None = None,
    ) -> None:
        # No retries: redis-py would send a script again whose reply was lost. No socket timeout: with one,
        # Python 3.11 swallows cancellation.
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=reply_timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=True,
        )
        self._url = url
        self._scripts = scripts
        self._reply_timeout_s = reply_timeout_s
        self._health = health
        self._loop = asyncio.get_running_loop()
        self._unsent: list[PendingCall] = []
        self._connecting: asyncio.Task[Exception | None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._unfit: StoreUnfit | None = None
        self._misfit = Outage(logger, "the store must not be used any more", "the store may be used again")
        self._outage = Outage(logger, "the store cannot be reached", "the store is back")
        self._refusals = Outage(logger, "the store refuses calls", "the store takes calls again")
        self._connection: AbstractConnection | None = None
        self._wire: PipelinedConnection | None = None
        self._closed = False

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        """Send a script with all others of this loop tick."""
        self._send(PendingCall(script, packed_call(script, keys, arguments), on_result))

    def send_command(self, words: Sequence[Argument], on_result: OnResult) -> None:
        """Send a command with all scripts of this loop tick."""
        self._send(PendingCall(None, pack(*words), on_result))

    def watch(self, interval_s: float) -> None:
        """Look at the store again and again from now on, and say so when the gate closes or opens."""
        self._watching = self._loop.create_task(self._watch(interval_s), name="store watch")

    async def look(self) -> None:
        """Look at the store now; connect if need be.

        Raises:
            StoreUnfit: it must not be used; says why.
            StoreUnavailable: it cannot be reached, or does not answer.

        """
        wire = self._wire
        if wire is not None and not wire.is_lost:
            error: Exception | None = await self._inspect(wire)
        else:
            error = await asyncio.shield(self._connect_once())
        if isinstance(error, StoreUnfit):
            raise error
        if error is not None:
            raise StoreUnavailable(f"The store cannot be reached: {self._reason(error)}") from error

    async def aclose(self) -> None:
        """Wait for the replies that are due, then disconnect."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._connecting is not None:
            await self._connecting
        if self._wire is not None:
            await self._wire.drain()
            self._wire.abort()
        await self._forget_connection()
        await self._pool.disconnect()

    def _send(self, call: PendingCall) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(OTHER_LOOP)
        wire = self._wire
        if self._unfit is not None and not (isinstance(self._unfit, StoreFull) and call.finishes):
            self._loop.call_soon(call.tell, refusal(self._unfit))
            return
        # Until all that was sent has heard that the connection is lost, nothing may take another one past it.
        if wire is not None and not wire.is_lost:
            if wire.calls < CALLS_MAX:
                wire.send(call)
                return
        elif not self._closed and len(self._unsent) < CALLS_MAX:
            self._unsent.append(call)
            self._connect_once()
            return
        self._loop.call_soon(call.tell, StoreUnavailable())

    async def _watch(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.look()
            except (StoreUnfit, StoreUnavailable):
                continue  # while it is so, calls hear of it
            except Exception as error:
                self._outage.fail(repr(error), exc_info=True)
                continue
            self._refusals.end(quiet_s=interval_s)

    def _connect_once(self) -> asyncio.Task[Exception | None]:
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        return self._connecting

    async def _connect(self) -> Exception | None:
        """Connect, look, and send what came meanwhile in its order; without a fit store none of it happened."""
        error: Exception | None = None
        try:
            wire = await self._open_wire()
            error = await self._inspect(wire)
            self._wire = wire
        except (RedisError, OSError, TimeoutError, StoreUnavailable) as failure:
            error = failure
            self._note_outage(failure)
            await self._forget_connection()
        finally:
            unsent, self._unsent, self._connecting = self._unsent, [], None
            for call in unsent:
                if self._wire is None or error is not None:
                    call.tell(refusal(error))
                else:
                    self._wire.send(call)
        return error

    async def _open_wire(self) -> PipelinedConnection:
        await self._forget_connection()
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._connection = connection
        async with asyncio.timeout(self._reply_timeout_s):
            await connection.connect()  # type: ignore[no-untyped-call]
        # The connection is set up and silent: from here on its transport is ours.
        writer = connection._writer  # noqa: SLF001
        assert writer is not None
        wire = PipelinedConnection(self._reply_timeout_s, self._refusals)
        wire.take_over(cast("asyncio.Transport", writer.transport))
        # A script that has to be loaded on the way runs behind those that were sent after it.
        for script in list(self._scripts)[:1]:
            wire.load(script)
        return wire

    async def _inspect(self, wire: PipelinedConnection) -> StoreUnfit | None:
        """Look at the store through a wire; close the gate if it is unfit, and open it when it is fit again."""
        if self._health is None:
            return None

        async def ask(questions: Sequence[Question]) -> Sequence[Any]:
            answers = [self._loop.create_future() for _ in questions]
            for question, answer in zip(questions, answers, strict=True):
                wire.send(PendingCall(None, pack(*question), partial(_put, answer), takes_errors=True))
            return [await answer for answer in answers]

        unfit: StoreUnfit | None = None
        try:
            await self._health.look(ask)
        except StoreUnfit as error:
            unfit = error
        except StoreUnavailable as error:
            self._note_outage(error)
            raise
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
        return reason_for(error, self._url)

    async def _forget_connection(self) -> None:
        self._wire = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)


class FakeClient:
    """A link to a fakeredis client: no batches, no lost replies."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        # As a server answers it, not as redis-py would show it.
        for command in ("XRANGE", "HSCAN", "ZSCAN"):
            client.set_response_callback(command, lambda reply, **_: reply)  # type: ignore[arg-type]
        self._running: set[asyncio.Future[Any]] = set()
        self._in_order = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        """Run a script."""
        self._start(self._run(script, "EVALSHA", script.sha, len(keys), *keys, *arguments), on_result)

    def send_command(self, words: Sequence[Argument], on_result: OnResult) -> None:
        """Run a command."""
        self._start(self._run(None, *words), on_result)

    def _start(self, run: Coroutine[Any, Any, Any], on_result: OnResult) -> None:
        if asyncio.get_running_loop() is not self._loop:
            run.close()
            raise RuntimeError(OTHER_LOOP)
        task = self._loop.create_task(run)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda run: on_result(OutcomeUnknown() if run.cancelled() else run.result()))

    async def _run(self, script: Script | None, *words: Argument) -> Any:
        try:
            async with self._in_order:
                try:
                    return await self._client.execute_command(*words)  # type: ignore[no-untyped-call,unused-ignore]
                except NoScriptError:
                    assert script is not None
                    await self._client.script_load(script.text)
                    return await self._client.execute_command(*words)  # type: ignore[no-untyped-call,unused-ignore]
        except ResponseError as error:
            return fault(error_for(str(error)), error)
        except RedisError as error:
            return fault(OutcomeUnknown(), error)
        except Exception as error:
            logger.exception("the fake store crashed")
            return fault(InternalError(), error)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def refusal(reason: Exception | None) -> StoreUnavailable:
    """Answer what a call hears that never left, and why."""
    is_unfit = isinstance(reason, StoreUnfit)
    refused = StoreUnavailable(
        f"The store must not be used now: {reason}. Nothing happened." if is_unfit else None
    )
    refused.__cause__ = reason
    return refused


def _put(answer: asyncio.Future[Any], heard: Any) -> None:
    """Keep what was heard, an error too, unless nobody waits for it any more."""
    if not answer.done():
        answer.set_result(heard)
