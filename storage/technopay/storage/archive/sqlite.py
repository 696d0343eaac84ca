"""An archive in a SQLite file, which any number of processes on one machine share."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive.database import ArchiveUnfit, Change, Row

Value = TypeVar("Value")

BUSY_S_MAX = 5.0
"""How long a transaction waits for that of another process."""
# A commit is on the disk when it returns: FULL syncs the log of a database with journal_mode WAL, too.
PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"


class SqliteDatabase:
    """One connection, used in a thread of its own, so that the event loop never waits for a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        if self._connection is None:
            self._connection = await self._run(self._connect)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._run(connection.close)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)

    async def write(self, changes: Sequence[Change]) -> bool:
        return await self._run(partial(self._write, changes))

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        return await self._run(lambda: self._opened().execute(_numbered(statement), values).fetchall())

    async def _run(self, work: Callable[[], Value]) -> Value:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise ArchiveUnavailable(f"The archive {self._path}: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would create the file for everybody to read, and its log with the mode of the file.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False
        )
        try:
            connection.executescript(PRAGMAS)
        except sqlite3.DatabaseError as error:
            connection.close()
            if type(error) is sqlite3.DatabaseError:
                raise ArchiveUnfit(f"{self._path} is no archive: {error}") from None
            raise
        return connection

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("it is not open")
        return self._connection

    def _write(self, changes: Sequence[Change]) -> bool:
        connection = self._opened()
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                for statement, rows, is_condition in changes:
                    if rows is None:
                        cursor.execute(statement)
                    else:
                        cursor.executemany(_numbered(statement), rows)
                    if is_condition and cursor.rowcount != 1:
                        cursor.execute("ROLLBACK")
                        return False
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        return True


def _numbered(statement: str) -> str:
    """Write the parameters as SQLite numbers them."""
    return statement.replace("$", "?")
