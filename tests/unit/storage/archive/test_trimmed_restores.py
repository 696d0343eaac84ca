"""Backups beside a trimmed store: an archive that has what left is reconciled, every other one is refused."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.all_reads import make_past
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.store_setup import client_of
from support.fixtures.trimming import Trimming, read_rest, relay_journals

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.system import SystemClock
from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage import Archive, ArchiveUnfit, RedisStore
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.checkpoints import read_checkpoints
from technopay.storage.archive.trimmer import Trimmer
from technopay.storage.archive.verify import verify


@pytest.fixture
def store(fake_store: RedisStore) -> RedisStore:
    return fake_store


@pytest.fixture
async def backup(tmp_path: Path) -> AsyncIterator[Archive]:
    """The archive in the file of a backup, see `back_up`. Named before `trimming`, it is open at the audit."""
    async with Archive.at(str(tmp_path / "backup.sqlite3")) as backup:
        yield backup


async def back_up(trimming: Trimming, tmp_path: Path) -> None:
    await trimming.archive.database.aclose()
    shutil.copy(tmp_path / "archive.sqlite3", tmp_path / "backup.sqlite3")
    await trimming.archive.database.open()


async def record_of(trimming: Trimming) -> dict[str, str]:
    """Return what the store recorded of its archive."""
    found: dict[str, str] = await client_of(trimming.store).hgetall(trimming.setup.keys.key("archive"))
    return found


async def add_past(trimming: Trimming) -> None:
    await make_past(trimming.setup, "alice")
    await relay_journals(trimming.store)


async def reconcile(trimming: Trimming, backup: Archive) -> Archiver:
    """Use a backup instead of the archive; return its archiver, after it copied and trimmed."""
    archiver = await trimming.store.archiver(backup)
    await trimming.end_claims()
    await archiver.run()
    await trimming.end_claims()
    await trimming.new_trimmer(backup).run()
    return archiver


async def whole_journal(trimming: Trimming) -> list[JournalEntry]:
    return await read_rest(trimming.store, 0, BEGINNING)


async def test_a_backup_with_all_trimmed_entries_gets_the_checkpoint_that_it_lacks(
    backup: Archive, trimming: Trimming, tmp_path: Path
) -> None:
    await add_past(trimming)
    await trimming.archiver.run()
    await back_up(trimming, tmp_path)
    await trimming.trimmer.run()
    before, journal = await record_of(trimming), await whole_journal(trimming)
    await trimming.store.attach(backup)
    with pytest.raises(ArchiveUnavailable, match="lacks the checkpoint"):
        await whole_journal(trimming)
    await make_past(trimming.setup, "alice")
    await reconcile(trimming, backup)
    after = await record_of(trimming)
    assert (after["trimmed_to"], after["checkpoint"]) == (before["trimmed_to"], before["checkpoint"])
    assert (await whole_journal(trimming))[: len(journal)] == journal
    assert (await verify(backup)).clean


async def test_a_backup_that_lacks_several_checkpoints_gives_the_store_another_digest(
    backup: Archive, trimming: Trimming, tmp_path: Path
) -> None:
    await add_past(trimming)
    middle = await trimming.store.read_end(0)
    await make_past(trimming.setup, "alice")  # it is archived, but not relayed
    await trimming.archiver.run()
    await back_up(trimming, tmp_path)
    await trimming.trimmer.run()
    assert await trimming.trimmed_to() == middle
    await relay_journals(trimming.store)
    await trimming.trimmer.run()
    before, journal = await record_of(trimming), await whole_journal(trimming)
    assert len(await read_checkpoints(trimming.archive, 0)) == 2
    await make_past(trimming.setup, "alice")
    await trimming.store.attach(backup)
    with pytest.raises(ArchiveUnavailable, match="lacks the checkpoint"):
        await whole_journal(trimming)
    await reconcile(trimming, backup)
    after = await record_of(trimming)
    assert after["trimmed_to"] == before["trimmed_to"]
    assert after["checkpoint"] != before["checkpoint"], "it follows another one"
    (checkpoint,) = await read_checkpoints(backup, 0)
    assert (str(checkpoint.position), checkpoint.digest) == (after["trimmed_to"], after["checkpoint"])
    assert (await whole_journal(trimming))[: len(journal)] == journal
    await assert_clean(trimming.store)
    # The archive of before is no longer the store's.
    await trimming.store.attach(trimming.archive)
    with pytest.raises(ArchiveUnavailable, match="lacks the checkpoint"):
        await whole_journal(trimming)
    await relay_journals(trimming.store)
    await reconcile(trimming, backup)
    assert await trimming.kept() == [await trimming.trimmed_to()]


async def test_a_backup_gets_its_checkpoint_also_while_nothing_more_can_leave(
    backup: Archive, trimming: Trimming, tmp_path: Path
) -> None:
    await add_past(trimming)
    await trimming.archiver.run()
    await back_up(trimming, tmp_path)
    await trimming.trimmer.run()
    journal = await whole_journal(trimming)
    await trimming.end_claims()
    await trimming.store.attach(backup)
    keeping = Trimmer(list(trimming.store._partitions), backup, 10**9, SystemClock())
    await backup.bind(await trimming.store.read_meta())
    await keeping.run()
    assert await read_checkpoints(backup, 0) == await read_checkpoints(trimming.archive, 0)
    assert await whole_journal(trimming) == journal


def refusals(archiver: Archiver) -> list[Any]:
    return [archiver.begin, archiver.run, lambda: archiver._archive_partition(0)]


async def test_a_backup_that_ends_before_the_cut_is_refused(
    backup: Archive, trimming: Trimming, tmp_path: Path
) -> None:
    await add_past(trimming)
    await trimming.archiver.run()
    await back_up(trimming, tmp_path)
    end = (await trimming.archive.read_position(0)).position
    await add_past(trimming)
    await trimming.trim()
    await trimming.setup.wallet()
    before, cut = await dump(trimming.store), await trimming.trimmed_to()
    await backup.bind(await trimming.store.read_meta())
    archiver = await trimming.store.archiver(backup)
    for call in refusals(archiver):
        with pytest.raises(ArchiveUnfit, match=f"ends at {end}, but the entries up to {cut} left the store"):
            await call()
    assert (await backup.read_position(0)).position == end
    assert timeless(await dump(trimming.store)) == timeless(before)
    await trimming.end_claims()
    with pytest.raises(ArchiveUnfit, match="lacks the checkpoint of partition 00"):
        await trimming.new_trimmer(backup).run()
    assert await trimming.trimmed_to() == cut
    await trimming.store.attach(trimming.archive)


async def test_a_new_archive_is_refused(backup: Archive, trimming: Trimming) -> None:
    await add_past(trimming)
    await trimming.trim()
    await trimming.setup.wallet()
    await backup.bind(await trimming.store.read_meta())
    archiver = await trimming.store.archiver(backup)
    for call in refusals(archiver):
        with pytest.raises(
            ArchiveUnfit, match=r"ends at 0-0, but the entries up to .* left the store: restore"
        ):
            await call()
    assert await backup.read_events(0, BEGINNING, 10) == []
    await trimming.end_claims()
    with pytest.raises(ArchiveUnfit, match="lacks the checkpoint of partition 00"):
        await trimming.new_trimmer(backup).run()
    await trimming.store.attach(trimming.archive)


@pytest.mark.corrupts
@pytest.mark.parametrize("goes_on", [False, True])
async def test_an_older_store_beside_its_archive_is_refused_and_nothing_leaves_it(
    trimming: Trimming, *, goes_on: bool
) -> None:
    setup, client = trimming.setup, client_of(trimming.store)
    key, journal = setup.keys.key("archive"), setup.keys.journal
    await add_past(trimming)
    await trimming.trim()
    await add_past(trimming)
    await trimming.archiver.run()
    older, kept = await client.hgetall(key), await trimming.kept()
    await add_past(trimming)
    await trimming.trim()
    lost = [str(each) for each in await trimming.kept() if each not in kept]
    # The store as it was before the last trim.
    entries = await trimming.archive.read_events_at(0, kept)
    await client.delete(key, journal)
    for row in sorted(entries, key=lambda row: (row[1], row[2])):
        await client.xadd(journal, {row[4]: row[5]}, id=f"{row[1]}-{row[2]}")
    await client.hset(key, mapping=older)
    assert lost
    if goes_on:
        await client.xadd(journal, {"user.unlocked": "alice"})
    before = await trimming.kept()
    age = "another one than" if goes_on else "older than"
    for call in refusals(trimming.archiver):
        with pytest.raises(ArchiveUnfit, match=f"is {age} its archive"):
            await call()
    checkpoints = await read_checkpoints(trimming.archive, 0)
    await trimming.end_claims()
    with pytest.raises(ArchiveUnfit, match="differs in the store and its archive"):
        await trimming.trimmer.run()
    assert await trimming.kept() == before
    assert await read_checkpoints(trimming.archive, 0) == checkpoints
    assert await trimming.trimmed_to() == Position.of(older["trimmed_to"])


async def test_entries_from_the_first_one_on_that_a_message_needs_stay(trimming: Trimming) -> None:
    await make_past(trimming.setup, "alice")
    needed, later = (await trimming.kept())[4:6]
    agenda, client = trimming.setup.keys.key("agenda"), client_of(trimming.store)
    messages = {f"msg_{needed}": 10**13, f"msg_{later}": 10**13}
    await client.zadd(agenda, messages)
    await trimming.trim()
    assert await trimming.trimmed_to() < needed
    assert needed in await trimming.kept()
    await client.zrem(agenda, *messages)
    await trimming.trim()
    assert await trimming.trimmed_to() > needed


def timeless(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the claims."""
    names = ("archived_to", "chain", "trimmed_to", "checkpoint")
    return {**found, "archive": {name: found["archive"].get(name) for name in names}}
