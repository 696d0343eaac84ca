"""An archive in PostgreSQL, by asyncpg: `technopay[postgres]`."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive.database import ArchiveUnfit, Change, Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    import asyncpg

CONNECTIONS_MAX = 4
TIMEOUT_S = 10.0
"""For a connection, and for a statement of a transaction."""
FETCH_S_MAX = 60.0
"""For a statement that reads: some add up the whole archive."""
NAME = "The archive in PostgreSQL"
SETTINGS = {"application_name": "technopay", "synchronous_commit": "on"}
LOCK_SCHEMA = "SELECT pg_advisory_xact_lock(hashtext('technopay archive'))"
NO_ASYNCPG = "an archive in PostgreSQL needs the package asyncpg: install technopay[postgres]"
NO_URL = "the URL of the archive in PostgreSQL cannot be read; are the special characters in it escaped as %XX?"


class PostgresDatabase:
    """A pool of connections. A commit is on the disk when it returns, else the server is refused."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def open(self, *, creates: bool = True) -> None:  # noqa: ARG002 - the server has the database
        async with self._opening:
            if self._pool is None:
                self._pool = await self._connect()

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await _close(pool)

    async def write(self, changes: Sequence[Change]) -> bool:
        async with self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            if any(change.rows is None for change in changes):
                # Those that create something fail if another process creates it at the same time.
                await connection.execute(LOCK_SCHEMA)
            for change in changes:
                if not await _apply(connection, change):
                    await transaction.rollback()
                    return False
            await transaction.commit()
        return True

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        async with self._connection() as connection:
            return [tuple(row) for row in await connection.fetch(_own(statement), *values, timeout=FETCH_S_MAX)]

    async def _connect(self) -> "asyncpg.Pool":
        """Return connections to a server whose commits are durable."""
        try:
            import asyncpg
        except ImportError:
            raise ArchiveUnfit(NO_ASYNCPG) from None
        # Without connections at first: a pool that has to have some logs each one that it cannot make.
        pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=TIMEOUT_S,
            command_timeout=TIMEOUT_S,
            server_settings=SETTINGS,
        )
        try:
            async with _connection_of(pool) as connection:
                fsync = await connection.fetchval("SHOW fsync")
        except BaseException as error:
            pool.terminate()
            if isinstance(error, ValueError):  # its text can hold a part of the password
                raise ArchiveUnfit(NO_URL) from None
            raise
        if fsync != "on":
            await _close(pool)
            raise ArchiveUnfit(f"the archive in PostgreSQL has fsync {fsync}: what it commits can be lost")
        return pool

    def _connection(self) -> "AbstractAsyncContextManager[Any]":
        if self._pool is None:
            raise ArchiveUnavailable(f"{NAME}: it is not open")
        return _connection_of(self._pool)


@asynccontextmanager
async def _connection_of(pool: "asyncpg.Pool") -> "AsyncIterator[Any]":
    """Lend a connection; if it is used without success, it ends."""
    import asyncpg

    try:
        async with pool.acquire(timeout=TIMEOUT_S) as connection:
            try:
                yield connection
            except BaseException:
                # The server rolls back; a rollback of ours could wait for a server that does not reply.
                with suppress(asyncpg.InterfaceError):  # it is closed
                    connection.terminate()
                raise
    except asyncpg.ClientConfigurationError:
        raise  # a ValueError
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ArchiveUnfit(f"the archive in PostgreSQL has rows behind its positions: {error}") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        # An internal error of a client: the connection was lost at an inconvenient time.
        raise ArchiveUnavailable(f"{NAME}: {str(error) or type(error).__name__}") from None


async def _close(pool: "asyncpg.Pool") -> None:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _apply(connection: Any, change: Change) -> bool:
    """Make a change; return False if it is a condition that does not hold."""
    if change.rows is None or change.is_condition:
        (values,) = change.rows or [()]
        tag: str = await connection.execute(_own(change.statement), *values)
        return not change.is_condition or tag.endswith(" 1")
    await connection.executemany(_own(change.statement), change.rows)
    return True


def _own(statement: str) -> str:
    """Return a statement with PostgreSQL's name for the order of bytes."""
    return statement.replace("COLLATE BINARY", 'COLLATE "C"')
