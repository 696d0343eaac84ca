"""The tables of an archive: created once, raised by version, and never used by an earlier program."""

import asyncio
from collections.abc import Sequence

import pytest
from support.fixtures.archives import META, create_schema, in_processes

from technopay.storage.archive import schema
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import ArchiveUnfit, Change, Database
from technopay.storage.archive.schema import create_or_raise, read_version

TABLES = ("archive", "positions", "events", "wallets", "entries", "payments", "invoices", "limits_by_day")


def with_version(monkeypatch: pytest.MonkeyPatch, *statements: str) -> int:
    """Add a version of the schema; return its number."""
    versions: Sequence[Sequence[str]] = (*schema.VERSIONS, statements)
    monkeypatch.setattr(schema, "VERSIONS", versions)
    return len(versions)


async def test_a_new_database_gets_all_tables_once(database: Database) -> None:
    for _ in range(2):
        await create_or_raise(database)
        assert await read_version(database) == len(schema.VERSIONS)
    for table in TABLES:
        assert len(await database.fetch(f"SELECT * FROM {table}")) == (table == "archive")


async def test_processes_create_the_tables_at_the_same_time(archive_location: str) -> None:
    versions = await asyncio.to_thread(in_processes, create_schema, [(archive_location,)] * 4)
    assert versions == [len(schema.VERSIONS)] * 4


async def test_tasks_create_the_tables_at_the_same_time(archive_location: str) -> None:
    databases = [Archive.at(archive_location).database for _ in range(4)]
    for database in databases:
        await database.open()
    await asyncio.gather(*map(create_or_raise, databases))
    for database in databases:
        assert await read_version(database) == len(schema.VERSIONS)
        await database.aclose()


async def test_an_earlier_version_is_raised_and_keeps_its_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_or_raise(database)
    await database.write([Change("INSERT INTO positions VALUES (0, 1, 2, 'chain', 3)")])
    later = with_version(
        monkeypatch, "ALTER TABLE positions ADD COLUMN more BIGINT", "CREATE TABLE news (id TEXT)"
    )
    await asyncio.gather(create_or_raise(database), create_or_raise(database))
    assert await read_version(database) == later
    assert await database.fetch("SELECT * FROM positions") == [(0, 1, 2, "chain", 3, None)]
    assert await database.fetch("SELECT * FROM news") == []


async def test_a_version_that_fails_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_or_raise(database)
    before = await read_version(database)
    with monkeypatch.context() as patch:
        with_version(patch, "CREATE TABLE news (id TEXT)", "no SQL")
        with pytest.raises(Exception, match="The archive"):
            await create_or_raise(database)
    assert await read_version(database) == before
    with_version(monkeypatch, "CREATE TABLE news (id TEXT)")
    await create_or_raise(database)
    assert await read_version(database) == before + 1


async def test_a_later_version_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        later = with_version(patch, "CREATE TABLE news (id TEXT)")
        await create_or_raise(database)
    with pytest.raises(ArchiveUnfit, match=f"has schema {later}, this program {later - 1}: use a later one"):
        await create_or_raise(database)
    assert await read_version(database) == later


async def test_what_reads_an_archive_needs_its_tables_in_the_present_version(
    archive_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Archive.at(archive_location) as archive:
        await archive.bind(META)
    versions = schema.VERSIONS
    for found, remedy in ((versions[:-1], "use a later one"), ((*versions, ()), "archive run` raises it")):
        monkeypatch.setattr(schema, "VERSIONS", found)
        async with Archive.at(archive_location) as archive:
            with pytest.raises(ArchiveUnfit, match=f"has schema 2, this program {len(found)}: .*{remedy}"):
                await archive.bind(META, creates=False)
            assert await read_version(archive.database) == len(versions)
