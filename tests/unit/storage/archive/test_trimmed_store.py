"""A store whose journal is trimmed at cuts of each kind, and archives that do not belong to it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from support.fixtures.store_setup import Setup
from support.fixtures.trimmed_store import TrimmedStore, take_small_steps

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import BEGINNING
from technopay.storage import RedisStore
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.checkpoints import last_checkpoint
from technopay.storage.archive.database import ArchiveUnfit, Change
from technopay.storage.archive.rows import entry_of, event_rows


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return tmp_path / "archive.sqlite3"


@pytest.fixture
async def trimmed(location: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TrimmedStore]:
    take_small_steps(monkeypatch.setattr)
    async with Archive.at(str(location)) as archive, RedisStore.fake() as store:
        yield TrimmedStore(Setup(store), archive)


async def make_last(trimmed: TrimmedStore, kind: str) -> None:
    """Make an entry of a kind, behind which the journal can be cut."""
    setup = trimmed.setup
    match kind:
        case "user":
            await setup.user("carol" if await setup.fields("user", "bob") else "bob")
        case "wallet":
            await setup.wallet(balance=0, currency="JPY")
        case "invoice":
            await setup.invoice()
        case "payment":
            await setup.started(trimmed.wallet, await setup.invoice())
        case "refund":
            await trimmed.refund(trimmed.early.pop(), 5)
        case _:
            await setup.deposit(trimmed.wallet, 1)


@pytest.mark.parametrize("kind", ["user", "wallet", "invoice", "payment", "refund", "deposit"])
async def test_a_trimmed_store_reads_as_before_and_its_books_are_whole_wherever_it_is_cut(
    trimmed: TrimmedStore, kind: str
) -> None:
    await trimmed.make_first_entries()
    for _ in range(2):
        await make_last(trimmed, kind)
        reads, end = await trimmed.read(), await trimmed.store.read_end(0)
        await trimmed.trim()
        assert await trimmed.trimmed_to() == end
        assert await trimmed.read() == reads
        await trimmed.make_entries()
        await trimmed.assert_clean()
    assert await trimmed.checkpoints_not_of_the_journal() == []


async def test_history_is_read_only_from_an_archive_with_the_checkpoint_of_the_store(
    trimmed: TrimmedStore, location: Path, tmp_path: Path
) -> None:
    await trimmed.begin()
    older = tmp_path / "older.sqlite3"
    with closing(sqlite3.connect(location)) as present, closing(sqlite3.connect(older)) as copy:
        present.backup(copy)
    await trimmed.make_entries()
    await trimmed.trim()
    store = trimmed.store
    reads = (
        trimmed.read, store.audit, lambda: store.audit(full=True), lambda: store.read_journal(0, BEGINNING, 10),
    )  # fmt: skip
    async with Archive.at(str(older)) as archive:
        await store.attach(archive)
        for read in reads:
            with pytest.raises(ArchiveUnavailable, match="lacks the checkpoint"):
                await read()
    await store.attach(trimmed.archive)
    await trimmed.assert_clean()


@pytest.mark.parametrize("is_checked_at_start", [True, False])
async def test_an_archive_that_lacks_what_left_the_store_is_refused_and_stays_empty(
    trimmed: TrimmedStore, tmp_path: Path, *, is_checked_at_start: bool
) -> None:
    await trimmed.begin()
    meta = await trimmed.store.read_meta()
    async with Archive.at(str(tmp_path / "new.sqlite3")) as new:
        archiver = Archiver(list(trimmed.store._partitions), meta, new)
        await new.bind(meta)
        with pytest.raises(ArchiveUnfit, match="left the store"):
            await (archiver.begin() if is_checked_at_start else archiver._archive_partition(0))
        assert await new.database.fetch("SELECT * FROM events") == []


@pytest.mark.parametrize("is_recomputed", [True, False])
async def test_nothing_leaves_the_store_behind_an_archived_entry_that_was_changed(
    trimmed: TrimmedStore, *, is_recomputed: bool
) -> None:
    await trimmed.begin()
    await trimmed.make_entries()
    await trimmed.copy()
    before = await last_checkpoint(trimmed.archive, 0)
    rows = await trimmed.archive.read_events(0, before.position, 1_000)
    entries = [entry_of(row) for row in rows]
    entries[1] = entries[1]._replace(fields={**entries[1].fields, "note": "changed"})
    changed = event_rows(0, entries, before.chain)
    if not is_recomputed:
        changed = [(*row[:-1], kept[-1]) for row, kept in zip(changed, rows, strict=True)]
    update = "UPDATE events SET fields = $1, chain = $2 WHERE entry_ms = $3 AND entry_number = $4"
    await trimmed.archive.database.write(
        [
            Change(update, [(row[6], row[7], *row[1:3]) for row in changed]),
            Change("UPDATE positions SET chain = $1", [(changed[-1][-1],)]),
        ]
    )
    state = await trimmed.state()
    expected = "another history" if is_recomputed else "was changed"
    with pytest.raises(ArchiveUnfit, match=expected):
        await trimmed.trimmer().run()
    assert await trimmed.state() == state
