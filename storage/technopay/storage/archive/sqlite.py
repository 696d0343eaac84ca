"""An archive in a SQLite file, which any number of processes on one machine share."""

import asyncio
import errno
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive.database import ArchiveUnfit, Change, Row

Value = TypeVar("Value")

BUSY_PAUSE_S = 0.01
BUSY_S_MAX = 5.0
"""How long a transaction waits for that of another process."""
VERSION_MIN = (3, 38, 0)
"""The first version with the operator ->>."""
PARAMETER = re.compile(r"\$(\d+)")
FAULTS = (sqlite3.Error, OSError, OverflowError, UnicodeError)
"""The last two: a number or a text that no database stores."""


class SqliteDatabase:
    """One connection, used in a thread of its own, so that the event loop never waits for a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def open(self, *, creates: bool = True) -> None:
        if sqlite3.sqlite_version_info < VERSION_MIN:
            needed, found = ".".join(map(str, VERSION_MIN)), sqlite3.sqlite_version
            raise ArchiveUnavailable(f"An archive in a file needs SQLite {needed}, this Python has {found}")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        await self._run(partial(self._connect, creates=creates))

    async def aclose(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        # The thread ends what a canceled call left to it, then disconnects.
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
        finally:
            thread.shutdown(wait=False)

    async def write(self, changes: Sequence[Change]) -> bool:
        return await self._run(partial(self._write, changes))

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        return await self._run(partial(self._fetch, statement, values))

    async def _run(self, work: Callable[[], Value]) -> Value:
        if self._thread is None:
            raise ArchiveUnavailable(f"The archive {self._path}: it is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.IntegrityError as error:
            raise ArchiveUnfit(f"the archive {self._path} has rows behind its positions: {error}") from None
        except FAULTS as error:
            raise ArchiveUnavailable(f"The archive {self._path}: {error}") from None

    def _connect(self, *, creates: bool) -> None:
        if self._connection is not None:
            return
        if creates:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._find(os.O_CREAT if creates else 0)
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False
        )
        try:
            self._make_durable(connection)
        except BaseException as error:
            connection.close()
            if type(error) is sqlite3.DatabaseError:
                raise ArchiveUnfit(f"{self._path} is no archive: {error}") from None
            raise
        self._connection = connection

    def _find(self, flag: int) -> tuple[int, int]:
        """Return what identifies the file; with O_CREAT, create it if there is none.

        SQLite would create it for everybody to read, and gives its log the mode of the file.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | flag, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ArchiveUnfit(f"{self._path} is a symbolic link: name the file itself") from None
            raise
        try:
            return _identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _make_durable(self, connection: sqlite3.Connection) -> None:
        mode = _with_patience(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        if mode != "wal":
            raise ArchiveUnfit(f"{self._path} cannot have a write-ahead log: its journal mode stays {mode}")
        # A commit is on the disk when it returns: in journal mode WAL, FULL syncs at each commit.
        connection.execute("PRAGMA synchronous = FULL")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("it is not open")
        return self._connection

    def _fetch(self, statement: str, values: Row) -> Sequence[Row]:
        connection = self._opened()
        self._require_same_file()
        text, order = _positional(statement)
        return connection.execute(text, [values[each] for each in order]).fetchall()

    def _write(self, changes: Sequence[Change]) -> bool:
        connection = self._opened()
        self._require_same_file()
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    _apply(cursor, change)
                    if change.is_condition and cursor.rowcount != 1:
                        cursor.execute("ROLLBACK")
                        return False
                cursor.execute("COMMIT")
                self._require_same_file()
            except BaseException:
                # Some errors, such as a full disk, have rolled it back already.
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        return True

    def _require_same_file(self) -> None:
        """Raise ArchiveUnfit if the open file is not that of the path: its commits would be lost."""
        try:
            found = _identity(self._path.lstat())
        except FileNotFoundError:
            found = None
        if found != self._file:
            raise ArchiveUnfit(f"{self._path} was removed or replaced while it was in use")


def _with_patience(work: Callable[[], Value]) -> Value:
    """Repeat what finds the database busy; SQLite itself does not wait for a change of the journal mode."""
    end_s = monotonic() + BUSY_S_MAX
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= end_s:
                raise
        sleep(BUSY_PAUSE_S)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _apply(cursor: sqlite3.Cursor, change: Change) -> None:
    if change.rows is None:
        cursor.execute(change.statement)
        return
    text, order = _positional(change.statement)
    cursor.executemany(text, ([row[each] for each in order] for row in change.rows))


@lru_cache(maxsize=64)
def _positional(statement: str) -> tuple[str, Sequence[int]]:
    """Return a statement with parameters by position, and which value each of them takes.

    Several versions of Python take numbered ones for names.
    """
    return PARAMETER.sub("?", statement), [int(number) - 1 for number in PARAMETER.findall(statement)]
