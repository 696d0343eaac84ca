"""Writes the tables of an archive as Parquet files: `technopay[parquet]`."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from technopay.storage.archive.archive import INVOICE_COLUMNS, PAYMENT_COLUMNS, Archive
from technopay.storage.archive.database import Database, Row

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 10_000
"""Rows that are read and written at a time."""
NO_PYARROW = "an export to Parquet needs the package pyarrow: install technopay[parquet]"
ENTRY = ("partition", "entry_ms", "entry_number")
NUMBERS = frozenset(
    {*ENTRY, "amount", "refunded_amount", "balance_after", "used", "read_ms", "read_number"}
)  # fmt: skip
AT_MS = "at_ms"
"""The end of the names of times; a file has timestamps, whose names end with `at`."""


class ExportFailed(Exception):
    """Raised when the files cannot be written."""


class Table(NamedTuple):
    """A table or a view, with the columns that identify a row and give the order."""

    name: str
    key: Sequence[str]
    columns: Sequence[str]


TABLES = (
    Table("payments", ("partition", "id"), PAYMENT_COLUMNS),
    Table("invoices", ("partition", "id"), INVOICE_COLUMNS),
    Table(
        "entries",
        ENTRY,
        (
            *ENTRY, "wallet_id", "at_ms", "kind", "amount", "balance_after", "payment_id", "refund_id",
            "reference", "note", "operator",
        ),
    ),
    Table("events", ENTRY, (*ENTRY, "at_ms", "type", "subject", "fields", "chain")),
    Table("wallets", ("id",), ("id", "partition", "user_id", "currency", "created_at_ms")),
    Table("limits_by_day", ("day", "currency"), ("day", "currency", "used")),
)  # fmt: skip


async def export_parquet(archive: Archive | Database, directory: Path) -> Mapping[str, int]:
    """Write one file per table, each under its name once it is whole; return the rows of each.

    Rows that are archived meanwhile can be in one file and not yet in another.

    Raises:
        ArchiveUnavailable: some files may have been written.
        ExportFailed: pyarrow is missing, or the directory cannot be written; some files may have been written.

    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ExportFailed(NO_PYARROW) from None
    database = archive.database if isinstance(archive, Archive) else archive
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        return {table.name: await _export(database, table, directory) for table in TABLES}
    except OSError as error:
        raise ExportFailed(f"the export to {directory}: {error.strerror or error}") from None


async def _export(database: Database, table: Table, directory: Path) -> int:
    """Write the file of a table; return its rows."""
    # Hidden, so that no reader takes it for a whole one; of this process, so that two exports do not mix.
    unfinished = directory / f".{table.name}.{os.getpid()}"
    count = 0
    try:
        writer = await asyncio.to_thread(_open, unfinished, table)
        try:
            async for rows in _batches(database, table):
                await asyncio.to_thread(_write, writer, table, rows)
                count += len(rows)
        finally:
            await asyncio.to_thread(writer.close)
        await asyncio.to_thread(_publish, unfinished, directory / f"{table.name}.parquet")
    finally:
        await asyncio.to_thread(unfinished.unlink, missing_ok=True)
    return count


async def _batches(database: Database, table: Table) -> AsyncIterator[Sequence[Row]]:
    """Read a table by its key: to skip rows by their number would read them again for each batch."""
    key = ", ".join(table.key)
    behind = ", ".join(f"${number}" for number in range(1, len(table.key) + 1))
    begin = f"SELECT {', '.join(table.columns)} FROM {table.name}"  # noqa: S608
    order = f" ORDER BY {key} LIMIT {BATCH}"
    rows = await database.fetch(begin + order)
    while rows:
        yield rows
        if len(rows) < BATCH:
            return
        last = dict(zip(table.columns, rows[-1], strict=True))
        after = f"{begin} WHERE ({key}) > ({behind}){order}"
        rows = await database.fetch(after, *(last[name] for name in table.key))


def _schema(table: Table) -> "pa.Schema":
    import pyarrow as pa

    def column(name: str) -> "tuple[str, pa.DataType]":
        if name.endswith(AT_MS):
            return name.removesuffix("_ms"), pa.timestamp("ms", tz="UTC")
        return name, pa.int64() if name in NUMBERS else pa.string()

    return pa.schema([column(name) for name in table.columns])


def _open(path: Path, table: Table) -> "pq.ParquetWriter":
    import pyarrow.parquet as pq

    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    return pq.ParquetWriter(path, _schema(table), compression="zstd")


def _write(writer: "pq.ParquetWriter", table: Table, rows: Sequence[Row]) -> None:
    import pyarrow as pa

    schema = _schema(table)
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    writer.write_batch(pa.record_batch(arrays, schema=schema))


def _publish(unfinished: Path, file: Path) -> None:
    """Give a whole file its name; a crash of the machine leaves the earlier one or this one."""
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.replace(file)
