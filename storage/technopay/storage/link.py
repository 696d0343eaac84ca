"""The link to the store: the scripts of one loop tick leave in one write.

Every call gets its own true outcome: its reply, StoreUnavailable (it was not executed) or LostReplyError
(it may have been executed).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from technopay.engine.errors import InternalError, StoreUnavailable
from technopay.storage.scripts import Script

logger = logging.getLogger(__name__)

BATCH_MAX = 128
NOT_EXECUTED = (
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,
    TryAgainError,
)
"""Error replies that say that the script did not run; MASTERDOWN is a kind of CLUSTERDOWN."""
NOT_EXECUTED_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ")
"""How those begin that redis-py has no class for."""


class LostReplyError(Exception):
    """Raised when a call was or may have been sent and its reply did not come: the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its arguments, and where its reply goes."""

    script: Script
    arguments: tuple[str | int, ...]
    reply: asyncio.Future[Any]


class Link(Protocol):
    """A way to run scripts."""

    async def run(self, script: Script, arguments: Sequence[str | int]) -> Any:
        """Run a script and answer its reply."""
        ...

    async def info(self) -> dict[str, str]:
        """Answer what the server says of its configuration and role."""
        ...

    async def aclose(self) -> None:
        """Close the link."""
        ...


class BatchingLink:
    """A link to a real server, over a few connections, each with one batch at a time."""

    def __init__(self, pool: ConnectionPool, journal: str, reply_timeout_s: float) -> None:
        self._pool = pool
        self._journal = journal
        self._reply_timeout_s = reply_timeout_s
        self._calls: list[Call] = []
        self._sending: set[asyncio.Task[None]] = set()

    @classmethod
    def from_url(
        cls, url: str, journal: str, *, connections: int, connect_timeout_s: float, reply_timeout_s: float
    ) -> Self:
        """Make a link; nothing is connected before the first call."""
        # No retries: redis-py would send a script again whose reply was lost. No socket timeout: with one,
        # Python 3.11 swallows cancellation.
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=reply_timeout_s,
            socket_timeout=None,
            socket_connect_timeout=connect_timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=True,
        )
        return cls(pool, journal, reply_timeout_s)

    async def run(self, script: Script, arguments: Sequence[str | int]) -> Any:
        """Run a script in the batch of this loop tick."""
        loop = asyncio.get_running_loop()
        call = Call(script, tuple(arguments), loop.create_future())
        if not self._calls:
            loop.call_soon(self._send_batch)
        self._calls.append(call)
        return await call.reply

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
        """Let the batches under way end, then disconnect."""
        if self._sending:
            await asyncio.gather(*self._sending, return_exceptions=True)
        await self._pool.disconnect()

    def _send_batch(self) -> None:
        calls, self._calls = self._calls, []
        for first in range(0, len(calls), BATCH_MAX):
            task = asyncio.get_running_loop().create_task(self._exchange(calls[first : first + BATCH_MAX]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _exchange(self, calls: Sequence[Call]) -> None:
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            _fail(calls, StoreUnavailable(), error)
            return
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                unknown = await self._send_and_read(connection, calls)
                if unknown:
                    # NOSCRIPT means that nothing ran, so sending again is safe.
                    await self._load(connection, unknown)
                    forgotten = await self._send_and_read(connection, unknown)
                    _fail(forgotten, StoreUnavailable(), NoScriptError("forgotten as soon as loaded"))
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            _fail(calls, LostReplyError(), error)
        except BaseException as error:
            await connection.disconnect(nowait=True)
            _fail(calls, LostReplyError(), error)
            raise
        finally:
            await self._pool.release(connection)

    async def _send_and_read(self, connection: AbstractConnection, calls: Sequence[Call]) -> list[Call]:
        """Send all calls in one write and read their replies; answer those whose script is not loaded."""
        commands = [("EVALSHA", call.script.sha, 1, self._journal, *call.arguments) for call in calls]
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        unknown = []
        for call in calls:
            try:
                reply = await connection.read_response(disconnect_on_error=False)
            except NoScriptError:
                unknown.append(call)
            except (ResponseError, BusyLoadingError) as error:
                _fail([call], error_for(error), error)
            else:
                if not call.reply.done():
                    call.reply.set_result(reply)
        return unknown

    async def _load(self, connection: AbstractConnection, calls: Sequence[Call]) -> None:
        texts = {call.script.sha: call.script.text for call in calls}
        await connection.send_packed_command(
            connection.pack_commands([("SCRIPT", "LOAD", text) for text in texts.values()]), check_health=False
        )
        for _ in texts:
            await connection.read_response(disconnect_on_error=False)


class DirectLink:
    """A link to a fakeredis client: no batches, no lost replies."""

    def __init__(self, client: Redis, journal: str) -> None:
        self._client = client
        self._journal = journal

    async def run(self, script: Script, arguments: Sequence[str | int]) -> Any:
        """Run a script."""
        try:
            try:
                return await self._client.evalsha(script.sha, 1, self._journal, *arguments)  # type: ignore[misc,arg-type,unused-ignore]
            except NoScriptError:
                return await self._client.eval(script.text, 1, self._journal, *arguments)  # type: ignore[misc,arg-type,unused-ignore]
        except ResponseError as error:
            raise error_for(error) from error

    async def info(self) -> dict[str, str]:
        """Answer nothing: there is no server."""
        return {}

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def error_for(error: RedisError) -> StoreUnavailable | InternalError:
    """Answer what an error reply means: the script did not run, or it has a defect."""
    if isinstance(error, NOT_EXECUTED) or str(error).startswith(NOT_EXECUTED_CODES):
        return StoreUnavailable()
    logger.error("a script failed: %s", error)
    return InternalError()


def _fail(calls: Sequence[Call], error: Exception, cause: BaseException) -> None:
    for call in calls:
        if not call.reply.done():
            failure = type(error)()
            failure.__cause__ = cause
            call.reply.set_exception(failure)
            call.reply.exception()
