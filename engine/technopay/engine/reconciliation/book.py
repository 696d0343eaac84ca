"""The rows of a settlement file in a temporary database, so that memory stays bounded."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

CACHE_KIB = 16 * 1024
BATCH = 500


class Row(NamedTuple):
    """A row; of a refund, its payment and the amount that was asked for, once they are known."""

    number: int
    key: str
    amount: int
    currency: str
    outcome: str
    payment_id: str | None = None
    asked: int | None = None


class RowBook:
    """The rows by number and by key, which is unique."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file that vanishes with it
        self._database.executescript(
            f"PRAGMA cache_size = -{CACHE_KIB}; PRAGMA journal_mode = OFF;"
            "CREATE TABLE row (number INTEGER PRIMARY KEY, key TEXT UNIQUE, amount INT, currency TEXT,"
            " outcome TEXT, payment_id TEXT, asked INT); BEGIN;"
        )

    def close(self) -> None:
        self._database.close()

    def add(self, row: Row) -> int | None:
        """Add a row; return the number of an earlier one with its key, if there is one."""
        done = self._database.execute("INSERT OR IGNORE INTO row VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        if done.rowcount:
            return None
        found = self._database.execute("SELECT number FROM row WHERE key = ?", (row.key,)).fetchone()
        return int(found[0])

    def __contains__(self, key: str) -> bool:
        return self._database.execute("SELECT 1 FROM row WHERE key = ?", (key,)).fetchone() is not None

    def __bool__(self) -> bool:
        return self._database.execute("SELECT 1 FROM row LIMIT 1").fetchone() is not None

    def batches(self, count: int) -> Iterator[list[Row]]:
        """Return all rows in their order, in batches."""
        last = -1
        while rows := self._database.execute(
            "SELECT * FROM row WHERE number > ? ORDER BY number LIMIT ?", (last, count)
        ).fetchall():
            last = rows[-1][0]
            yield [Row(*row) for row in rows]

    def refunds(self, partition: int) -> Iterator[str]:
        """Return the keys of the refunds of a partition, sorted."""
        last = prefix = f"ref_{partition:02x}"
        while keys := self._database.execute(
            "SELECT key FROM row WHERE key > ? AND substr(key, 1, 6) = ? ORDER BY key LIMIT ?",
            (last, prefix, BATCH),
        ).fetchall():
            last = keys[-1][0]
            yield from (key for (key,) in keys)

    def note_refund(self, key: str, payment_id: str, asked: int) -> bool:
        """Note the payment of a refund; return whether it is in the file."""
        done = self._database.execute(
            "UPDATE row SET payment_id = ?, asked = ? WHERE key = ?", (payment_id, asked, key)
        )
        return done.rowcount > 0
