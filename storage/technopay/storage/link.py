"""The link to the store: one wire, connected when it is needed; or a fake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from technopay.engine.errors import StoreUnavailable
from technopay.storage.scripts import Script
from technopay.storage.wire import Wire, error_for

logger = logging.getLogger(__name__)

CALLS_MAX = 20_000
"""Calls without a reply; one more is refused."""


class Link(Protocol):
    """A way to run scripts."""

    async def run(self, script: Script, arguments: Sequence[str | int]) -> Any:
        """Run a script and answer its reply.

        Raises:
            StoreUnavailable: it was not executed.
            LostReplyError: it may have been executed.

        """
        ...

    async def info(self) -> dict[str, str]:
        """Answer what the server says of its configuration and role."""
        ...

    async def aclose(self) -> None:
        """Close the link."""
        ...


class ServerLink:
    """A link to a real server. redis-py connects: sockets, TLS, sign-in, database number."""

    def __init__(self, url: str, journal: str, *, connect_timeout_s: float, reply_timeout_s: float) -> None:
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
        self._reply_timeout_s = reply_timeout_s
        self._connecting = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._wire: Wire | None = None
        self._closed = False

    async def run(self, script: Script, arguments: Sequence[str | int]) -> Any:
        """Run a script with all others of this loop tick."""
        wire = self._wire
        if wire is None or not wire.is_open:
            wire = await self._connect()
        if wire.calls >= CALLS_MAX:
            raise StoreUnavailable("Too many calls wait for the store. Nothing happened; try again.")
        return await wire.send(script, arguments)

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
        if self._wire is not None:
            await self._wire.drain()
            self._wire.abort()
        await self._forget_connection()
        await self._pool.disconnect()

    async def _connect(self) -> Wire:
        async with self._connecting:
            if self._wire is not None and self._wire.is_open:
                return self._wire
            if self._closed:
                raise StoreUnavailable("The store is closed.")
            await self._forget_connection()
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            self._connection = connection
            try:
                async with asyncio.timeout(self._reply_timeout_s):
                    await connection.connect()  # type: ignore[no-untyped-call]
            except (RedisError, OSError, TimeoutError) as error:
                raise StoreUnavailable from error
            wire = Wire(self._journal, self._reply_timeout_s)
            # The connection is set up and silent: from here on its transport is ours.
            writer = connection._writer  # noqa: SLF001
            assert writer is not None
            wire.take_over(cast("asyncio.Transport", writer.transport))
            self._wire = wire
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
        self._journal = journal

    async def run(self, script: Script, arguments: Sequence[str | int]) -> Any:
        """Run a script."""
        try:
            try:
                return await self._client.evalsha(script.sha, 1, self._journal, *arguments)  # type: ignore[misc,arg-type,unused-ignore]
            except NoScriptError:
                return await self._client.eval(script.text, 1, self._journal, *arguments)  # type: ignore[misc,arg-type,unused-ignore]
        except ResponseError as error:
            raise error_for(str(error)) from error

    async def info(self) -> dict[str, str]:
        """Answer nothing: there is no server."""
        return {}

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()
