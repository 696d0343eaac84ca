"""The export of an archive: one Parquet file per table, whole or absent."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fixtures.archived_store import ODD, archived_store, make_history
from support.fixtures.archives import META
from support.servers.small_disk import small_disk

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import JournalEntry, Position
from technopay.storage.archive import export
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.export import TABLES, ExportFailed, export_parquet
from technopay.storage.archive.rows import Record

COUNT = 57


@pytest.fixture
async def archive(archive_location: str) -> AsyncIterator[Archive]:
    """An archive with many deposits and payments, in an order that is none of their ids."""
    async with Archive.at(archive_location) as archive:
        await archive.bind(META)
        numbers = [number * 31 % COUNT for number in range(COUNT)]
        entries = [
            JournalEntry(
                f"{number // 10 + 1}-{number}", "wallet.deposited", f"wal_{numbers[number] % 5}",
                {"amount": str(2**53 - 1 - number), "balance": "1"},
            )
            for number in range(COUNT)
        ]  # fmt: skip
        records = [
            Record(
                f"pay_{number}",
                {
                    "user": "alice", "wallet": "wal_1", "invoice": "inv_1", "merchant": "shop", "amount": "1",
                    "currency": "EUR", "status": "succeeded", "created_at": str(1_783_252_800_123 + number),
                },
                Position(1, 0),
            )
            for number in numbers
        ]  # fmt: skip
        assert await archive.append(0, entries, records, await archive.read_position(0))
        yield archive


def read(folder: Path, table: str) -> pa.Table:
    return pq.read_table(folder / f"{table}.parquet")


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize("batch", [1, 10, COUNT - 1, COUNT, COUNT + 1])
async def test_every_row_is_written_once_with_any_size_of_a_batch(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(export, "BATCH", batch)
    counts = await export_parquet(archive, tmp_path / "a" / "b")
    folder = tmp_path / "a" / "b"
    assert counts == {
        "payments": COUNT, "invoices": 0, "entries": COUNT, "events": COUNT, "wallets": 0, "limits_by_day": 0,
    }  # fmt: skip
    assert names_in(folder) == sorted(f"{table.name}.parquet" for table in TABLES)
    for table in ("payments", "entries", "events"):
        assert read(folder, table).num_rows == COUNT
    assert len(set(read(folder, "payments")["id"].to_pylist())) == COUNT
    assert sorted(read(folder, "entries")["amount"].to_pylist()) == [2**53 - COUNT + n for n in range(COUNT)]
    assert read(folder, "events")["entry_number"].to_pylist() == list(range(COUNT))


async def test_columns_have_the_types_of_their_values(archive: Archive, tmp_path: Path) -> None:
    await export_parquet(archive.database, tmp_path)
    payments = read(tmp_path, "payments")
    assert payments.schema.field("created_at").type == pa.timestamp("ms", tz="UTC")
    assert payments.schema.field("amount").type == pa.int64()
    assert payments.schema.field("record").type == pa.string()
    created = dict(zip(payments["id"].to_pylist(), payments["created_at"].to_pylist(), strict=True))
    assert created["pay_7"] == datetime(2026, 7, 5, 12, 0, 0, 130_000, tzinfo=UTC)
    assert payments["paid_at"].null_count == COUNT
    assert read(tmp_path, "limits_by_day").schema.names == ["day", "currency", "used"]


async def test_files_have_what_the_archive_has(
    archive_location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BATCH", 4)
    async with archived_store(archive_location) as archived:
        await make_history(archived.engine, archived.store)
        await archived.copy()
        counts = await export_parquet(archived.archive, tmp_path)
        for table in TABLES:
            listed = ", ".join(table.columns)
            order = ", ".join(table.key)
            rows = await archived.archive.database.fetch(f"SELECT {listed} FROM {table.name} ORDER BY {order}")
            found = read(tmp_path, table.name)
            assert found.num_rows == counts[table.name] == len(rows) > 0
            assert [tuple(row.values()) for row in found.to_pylist()] == [
                tuple(map(as_written, table.columns, row)) for row in rows
            ]
    assert ODD in read(tmp_path, "invoices")["merchant"].to_pylist()


def as_written(name: str, value: Any) -> Any:
    if value is None or not name.endswith("at_ms"):
        return value
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)


async def test_every_column_of_the_tables_is_written(archive: Archive) -> None:
    for table in TABLES:
        if table.name != "limits_by_day":
            rows = await archive.database.fetch(f"SELECT * FROM {table.name} LIMIT 1")
            assert all(len(row) == len(table.columns) for row in rows)


async def test_an_export_that_fails_leaves_the_earlier_files_whole(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    await export_parquet(archive, folder)
    before = contents(folder)
    assert len(before) == len(TABLES)
    monkeypatch.setattr(export, "BATCH", 10)
    fetch, fetched = archive.database.fetch, 0

    async def fail_later(statement: str, *values: Any) -> Any:
        nonlocal fetched
        fetched += 1
        if fetched == 3:
            raise ArchiveUnavailable("it is away")
        return await fetch(statement, *values)

    monkeypatch.setattr(archive.database, "fetch", fail_later)
    with pytest.raises(ArchiveUnavailable):
        await export_parquet(archive, folder)
    assert contents(folder) == before


async def test_the_files_are_private(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    await export_parquet(archive, folder)
    assert {each.stat().st_mode & 0o777 for each in (folder, *folder.iterdir())} == {0o700, 0o600}


async def test_a_directory_that_cannot_be_written_is_named(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "a", Path("/proc/export")):
        with pytest.raises(ExportFailed, match=f"the export to {directory}: "):
            await export_parquet(archive, directory)


async def test_a_full_disk_is_named_and_leaves_nothing(archive: Archive) -> None:
    with small_disk() as disk:
        disk.fill(but=0)
        with pytest.raises(ExportFailed, match="No space left on device"):
            await export_parquet(archive, disk.folder / "export")
        disk.make_room()
        assert await export_parquet(archive, disk.folder / "export")


async def test_without_its_package_the_message_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "sys.modules['pyarrow'] = None\n"
        "from technopay.storage.archive.export import export_parquet\n"
        "asyncio.run(export_parquet(None, Path('export')))\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "ExportFailed: an export to Parquet needs the package pyarrow" in ended.stderr
    assert "technopay[parquet]" in ended.stderr
    assert names_in(tmp_path) == []
