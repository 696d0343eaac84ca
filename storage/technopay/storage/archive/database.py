"""The database of an archive: a few statements of SQL that SQLite and PostgreSQL both read.

Parameters are `$1`, `$2` …; amounts and times are whole numbers, everything else is text. `COLLATE BINARY` is
the order of bytes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from technopay.engine.errors import StoreUnfit

Row = tuple[Any, ...]


class ArchiveUnfit(StoreUnfit):
    """Raised when an archive must not be used: it is of another store, or differs from its store."""


class Change(NamedTuple):
    """A statement that writes, run once for each of the rows; None for a statement without parameters."""

    statement: str
    rows: Sequence[Row] | None = None
    is_condition: bool = False
    """Whether the whole transaction is rolled back if the statement changes no row; it has one row."""


class Database(Protocol):
    """A database; every method raises ArchiveUnavailable if it does not work now."""

    async def open(self, *, creates: bool = True) -> None:
        """Connect; with `creates`, a new database is created where that is possible.

        Raises:
            ArchiveUnfit: a commit would not be durable, or it is no database.

        """

    async def aclose(self) -> None:
        """Disconnect. Can be called more than once."""

    async def write(self, changes: Sequence[Change]) -> bool:
        """Make all changes in one durable transaction; return False if a condition did not hold."""
        ...

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        """Return the rows of a statement that reads."""
        ...
