"""The link to the store: one wire, connected when it is needed; or a fake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from technopay.engine.errors import InternalError, OutcomeUnknown, StoreUnavailable
from technopay.storage.scripts import Script
from technopay.storage.wire import Call, Wire, error_for, fault, pack

logger = logging.getLogger(__name__)

Argument = str | int
Hear = Callable[[Any], None]
"""Gets a reply, or the fault that came instead of it."""

CALLS_MAX = 20_000
"""Calls without a reply; one more is refused."""


class Link(Protocol):
    """A way to run scripts."""

    def send(self, script: Script, arguments: Sequence[Argument], hear: Hear) -> None:
        """Send a script behind those that were sent before; `hear` gets its reply, later and once.

        Or a fault instead: StoreUnavailable (it was not executed), OutcomeUnknown (it may have been
        executed), InternalError (it has a defect).
        """
        ...

    def send_command(self, words: Sequence[Argument], hear: Hear) -> None:
        """Send a command that only reads, in the same way."""
        ...

    async def info(self) -> dict[str, str]:
        """Answer what the server says of its configuration and role."""
        ...

    async def aclose(self) -> None:
        """Close the link."""
        ...


class ServerLink:
    """A link to a real server. redis-py connects: sockets, TLS, sign-in, database number."""

    def __init__(
        self,
        url: str,
        journal: str,
        *,
        scripts: Collection[Script] = (),
        connect_timeout_s: float,
        reply_timeout_s: float,
    ) -> None:
        # No retries: redis-py would send a script again whose reply was lost. No socket timeout: with one,
        # Python 3.11 swallows cancellation.
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=connect_timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=True,
        )
        self._journal = journal
        self._scripts = scripts
        self._reply_timeout_s = reply_timeout_s
        self._loop = asyncio.get_running_loop()
        self._unsent: list[Call] = []
        self._connecting: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None
        self._wire: Wire | None = None
        self._closed = False

    def send(self, script: Script, arguments: Sequence[Argument], hear: Hear) -> None:
        """Send a script with all others of this loop tick."""
        self._send(Call(script, pack("EVALSHA", script.sha, 1, self._journal, *arguments), hear))

    def send_command(self, words: Sequence[Argument], hear: Hear) -> None:
        """Send a command with all scripts of this loop tick."""
        self._send(Call(None, pack(*words), hear))

    def _send(self, call: Call) -> None:
        wire = self._wire
        # Until all that was sent has heard that the connection is lost, nothing may take another one past it.
        if wire is not None and not wire.is_lost:
            if wire.calls < CALLS_MAX:
                wire.send(call)
                return
        elif not self._closed and len(self._unsent) < CALLS_MAX:
            self._unsent.append(call)
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
            return
        self._loop.call_soon(call.tell, StoreUnavailable())

    async def info(self) -> dict[str, str]:
        """Answer what the server says of its configuration and role."""
        client: Redis = Redis(connection_pool=self._pool)
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                # All sections: servers that are too old to name several must be told so, too.
                info: dict[Any, Any] = await client.info()
                try:
                    info |= await client.config_get(
                        "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"
                    )
                except ResponseError as error:
                    logger.warning("the store does not tell its configuration: %s", error)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"The store cannot be asked about itself: {error}") from error
        return {str(name): str(value) for name, value in info.items()}

    async def aclose(self) -> None:
        """Wait for the replies that are due, then disconnect."""
        self._closed = True
        if self._connecting is not None:
            await self._connecting
        if self._wire is not None:
            await self._wire.drain()
            self._wire.abort()
        await self._forget_connection()
        await self._pool.disconnect()

    async def _connect(self) -> None:
        """Connect, and send what came meanwhile in its order; without a connection, none of it happened."""
        cause: Exception | None = None
        try:
            self._wire = await self._open_wire()
        except (RedisError, OSError, TimeoutError) as error:
            cause = error
        finally:
            unsent, self._unsent, self._connecting = self._unsent, [], None
            for call in unsent:
                if self._wire is None:
                    call.tell(fault(StoreUnavailable(), cause))
                else:
                    self._wire.send(call)

    async def _open_wire(self) -> Wire:
        await self._forget_connection()
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._connection = connection
        async with asyncio.timeout(self._reply_timeout_s):
            await connection.connect()  # type: ignore[no-untyped-call]
        # The connection is set up and silent: from here on its transport is ours.
        writer = connection._writer  # noqa: SLF001
        assert writer is not None
        wire = Wire(self._reply_timeout_s)
        wire.take_over(cast("asyncio.Transport", writer.transport))
        # A script that has to be loaded on the way runs behind those that were sent after it.
        for script in self._scripts:
            wire.load(script)
        return wire

    async def _forget_connection(self) -> None:
        self._wire = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)


class DirectLink:
    """A link to a fakeredis client: no batches, no lost replies."""

    def __init__(self, client: Redis, journal: str) -> None:
        self._client = client
        # As a server answers it, not as redis-py would show it.
        client.set_response_callback("XRANGE", lambda reply, **_: reply)  # type: ignore[arg-type]
        self._journal = journal
        self._running: set[asyncio.Future[Any]] = set()
        self._in_order = asyncio.Lock()

    def send(self, script: Script, arguments: Sequence[Argument], hear: Hear) -> None:
        """Run a script."""
        self._start(self._run(script, "EVALSHA", script.sha, 1, self._journal, *arguments), hear)

    def send_command(self, words: Sequence[Argument], hear: Hear) -> None:
        """Run a command."""
        self._start(self._run(None, *words), hear)

    def _start(self, run: Coroutine[Any, Any, Any], hear: Hear) -> None:
        task = asyncio.get_running_loop().create_task(run)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda run: hear(OutcomeUnknown() if run.cancelled() else run.result()))

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

    async def info(self) -> dict[str, str]:
        """Answer nothing: there is no server."""
        return {}

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()
