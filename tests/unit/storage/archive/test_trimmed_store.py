"""A store whose journal is trimmed at entries of each kind, and a new archive in the place of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.store_setup import Setup
from support.fixtures.trimmed_store import TrimmedStore, take_small_steps

from technopay.storage import RedisStore
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.database import ArchiveUnfit


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
        reads = await trimmed.read()
        await trimmed.trim()
        assert await trimmed.read() == reads
        await trimmed.make_entries()
        await trimmed.assert_clean()
    await trimmed.trim()
    assert await trimmed.checkpoints_not_of_the_journal() == []


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
