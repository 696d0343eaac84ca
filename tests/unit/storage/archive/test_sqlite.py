"""An archive in a file: durable, private, and with a clear reason if it cannot be used."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.fixtures.archives import sqlite_files
from support.servers.small_disk import small_disk

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive import sqlite
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import ArchiveUnfit, Change
from technopay.storage.archive.sqlite import SqliteDatabase

CREATE = Change("CREATE TABLE IF NOT EXISTS texts (text TEXT)")
ALL = "SELECT text FROM texts"


def add(text: str) -> list[Change]:
    return [Change("INSERT INTO texts VALUES ($1)", [(text,)])]


def exists(path: Path) -> bool:
    return path.exists()


def create(path: Path) -> None:
    path.touch()


def remove(path: Path) -> None:
    path.unlink()


def make_unwritable(folder: Path) -> None:
    folder.chmod(0o500)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "archive" / "archive.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    await database.open()
    await database.write([CREATE])
    yield database
    await database.aclose()


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


async def test_a_commit_is_synced_to_the_log(database: SqliteDatabase) -> None:
    assert await database.fetch("PRAGMA journal_mode") == [("wal",)]
    assert await database.fetch("PRAGMA synchronous") == [(2,)]


@pytest.mark.usefixtures("umask")
async def test_its_files_are_private_with_any_umask(path: Path) -> None:
    async with Archive.at(str(path)) as archive:
        await archive.database.open()
        await archive.database.write([CREATE])
        files = sqlite_files(str(path))
        assert [each.name for each in files] == ["archive.db", "archive.db-shm", "archive.db-wal"]
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


async def test_a_file_of_another_kind_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir or Madam, " * 100)
    database = SqliteDatabase(file)
    with pytest.raises(ArchiveUnfit, match=r"letter\.txt is no archive: file is not a database"):
        await database.open()
    await database.aclose()
    assert file.read_text() == "Dear Sir or Madam, " * 100


async def test_a_link_is_refused_and_its_target_stays_as_it_is(tmp_path: Path) -> None:
    target, link = tmp_path / "target.db", tmp_path / "archive.db"
    link.symlink_to(target)
    for _ in range(2):
        database = SqliteDatabase(link)
        with pytest.raises(ArchiveUnfit, match=r"archive\.db is a symbolic link"):
            await database.open()
        await database.aclose()
        assert not target.exists() or target.read_bytes() == b""
        target.touch()


async def test_an_old_library_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(ArchiveUnavailable, match=r"needs SQLite 3\.38\.0, this Python has "):
        await SqliteDatabase(path).open()
    assert not exists(path)


async def test_a_file_system_without_a_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A database in memory has no log either.
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: connect(":memory:", **options))
    database = SqliteDatabase(path)
    with pytest.raises(ArchiveUnfit, match="its journal mode stays memory"):
        await database.open()
    await database.aclose()


@pytest.mark.parametrize("where", ["file/archive.db", "folder", "full/archive.db"])
async def test_a_path_that_cannot_be_opened_is_unavailable_until_it_can(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = tmp_path / where
    if where.startswith("full"):
        path = Path("/proc/archive/archive.db")  # where nobody can make a folder, root neither
    database = SqliteDatabase(path)
    for _ in range(2):
        with pytest.raises(ArchiveUnavailable, match=f"The archive {path}: "):
            await database.open()
    with pytest.raises(ArchiveUnavailable):
        await database.fetch("SELECT 1")
    if where.startswith("file"):
        (tmp_path / "file").unlink()
        await database.open()
        assert await database.fetch("SELECT 1") == [(1,)]
    await database.aclose()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    make_unwritable(tmp_path)
    with pytest.raises(ArchiveUnavailable, match="Permission denied"):
        await SqliteDatabase(tmp_path / "archive.db").open()


async def test_a_transaction_waits_for_that_of_another_process_within_a_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S_MAX", 0.3)
    database = SqliteDatabase(path)
    await database.open()
    await database.write([CREATE])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(database.write(add("a")))
        await asyncio.sleep(0.1)
        other.execute("COMMIT")
        assert await writing
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ArchiveUnavailable, match="database is locked"):
            await database.write(add("b"))
        assert await database.fetch(ALL) == [("a",)]  # a read does not wait
        other.execute("ROLLBACK")
    assert await database.write(add("c"))
    assert await database.fetch(ALL) == [("a",), ("c",)]
    await database.aclose()


@pytest.mark.parametrize("change", ["removed", "replaced"])
async def test_a_file_that_was_removed_or_replaced_is_refused(
    database: SqliteDatabase, path: Path, change: str
) -> None:
    await database.write(add("a"))
    remove(path)
    if change == "replaced":
        create(path)
    with pytest.raises(ArchiveUnfit, match="was removed or replaced while it was in use"):
        await database.write(add("b"))


async def test_a_full_disk_is_unavailable_until_it_has_room() -> None:
    with small_disk() as disk:
        database = SqliteDatabase(disk.folder / "archive.db")
        await database.open()
        await database.write([CREATE])
        await database.write(add("a"))
        disk.fill(but=64 * 1024)
        with pytest.raises(ArchiveUnavailable, match=r"disk is full|disk I/O error"):
            await database.write([*add("b"), *add("x" * 200_000)])
        assert await database.fetch(ALL) == [("a",)]
        disk.make_room()
        assert await database.write(add("c"))
        assert await database.fetch(ALL) == [("a",), ("c",)]
        await database.aclose()
        await database.open()
        assert await database.fetch(ALL) == [("a",), ("c",)]
        await database.aclose()


async def test_a_new_archive_on_a_full_disk_is_unavailable_until_it_has_room() -> None:
    with small_disk() as disk:
        disk.fill(but=0)
        database = SqliteDatabase(disk.folder / "archive.db")
        with pytest.raises(ArchiveUnavailable):
            await database.open()
        disk.make_room()
        await database.open()
        assert await database.write([CREATE])
        await database.aclose()


async def test_a_canceled_open_leaves_no_connection_behind(path: Path) -> None:
    for _ in range(20):
        database = SqliteDatabase(path)
        task = asyncio.create_task(database.open())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.aclose()
    database = SqliteDatabase(path)
    await database.open()
    await database.write([CREATE])
    await database.aclose()
    assert sqlite_files(str(path)) == [path]


async def test_a_new_file_is_opened_by_several_at_the_same_time(tmp_path: Path) -> None:
    """Each of them changes the journal mode, for which SQLite itself does not wait."""
    for number in range(20):
        databases = [SqliteDatabase(tmp_path / str(number) / "archive.db") for _ in range(8)]
        await asyncio.gather(*(each.open() for each in databases))
        for each in databases:
            await each.aclose()
