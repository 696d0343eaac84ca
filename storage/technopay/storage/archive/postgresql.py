"""An archive in PostgreSQL, by asyncpg: `technopay[postgres]`."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive.database import ArchiveUnfit, Change, Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

CONNECTIONS_MAX = 4
TIMEOUT_S = 10.0
SETTINGS = {"application_name": "technopay", "synchronous_commit": "on"}
NO_ASYNCPG = "an archive in PostgreSQL needs the package asyncpg: install technopay[postgres]"


class PostgresDatabase:
    """A pool of connections. A commit is on the disk when it returns, else the server is refused."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        if self._pool is not None:
            return
        try:
            import asyncpg
        except ImportError:
            raise ArchiveUnfit(NO_ASYNCPG) from None
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=CONNECTIONS_MAX,
                timeout=TIMEOUT_S,
                command_timeout=TIMEOUT_S,
                server_settings=SETTINGS,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
            raise ArchiveUnavailable(f"The archive in PostgreSQL: {error or type(error).__name__}") from None
        ((fsync,),) = await self.fetch("SHOW fsync")
        if fsync != "on":
            await self.aclose()
            raise ArchiveUnfit(f"the archive in PostgreSQL has fsync {fsync}: what it commits can be lost")

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def write(self, changes: Sequence[Change]) -> bool:
        async with self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                for change in changes:
                    if not await _apply(connection, change):
                        await transaction.rollback()
                        return False
            except BaseException:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            await transaction.commit()
        return True

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        async with self._connection() as connection:
            return [tuple(row) for row in await connection.fetch(statement, *values)]

    @asynccontextmanager
    async def _connection(self) -> "AsyncIterator[Any]":
        import asyncpg

        if self._pool is None:
            raise ArchiveUnavailable("The archive in PostgreSQL: it is not open")
        try:
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                yield connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise ArchiveUnavailable(f"The archive in PostgreSQL: {error or type(error).__name__}") from None


async def _apply(connection: Any, change: Change) -> bool:
    if change.rows is None:
        await connection.execute(change.statement)
    elif change.is_condition:
        tag = await connection.execute(change.statement, *change.rows[0])
        return bool(tag.endswith(" 1"))
    else:
        await connection.executemany(change.statement, change.rows)
    return True
