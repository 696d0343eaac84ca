"""The archiver: copies in order and once, beside others; an archive of another history is refused."""

import asyncio
import logging
import shutil
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.placed_keys import partition_of
from support.fixtures.store_commands import read_archive
from support.fixtures.store_setup import Setup, client_of

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import Position
from technopay.storage import Archive, ArchiveUnfit, RedisStore
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.commands import ClaimArchive
from technopay.storage.archive.database import Change
from technopay.storage.archive.verify import verify

pytestmark = pytest.mark.any_partition


async def events_of(archive: Archive, number: int) -> list[tuple[str, str, str]]:
    """Return id, type and subject of the archived entries of a partition."""
    rows = await archive.read_events(number, Position(0, 0), 10_000)
    return [(f"{row[1]}-{row[2]}", row[4], row[5]) for row in rows]


async def entries_of(store: RedisStore, number: int) -> list[tuple[str, str, str]]:
    """Return id, type and subject of the entries of a journal."""
    journal = await store.read_journal(number, Position(0, 0), 10_000)
    return [(entry.id, entry.type, entry.subject) for entry in journal.entries]


def number_of(store: RedisStore) -> int:
    """Return the partition of alice."""
    return partition_of("alice", len(store.partitions))


async def status_of(archive: Archive, payment_id: str) -> Any:
    ((status,),) = await archive.database.fetch("SELECT status FROM payments WHERE id = $1", payment_id)
    return status


async def test_every_entry_is_archived_once_and_in_order(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    wallet_id = await setup.wallet()
    await setup.user("carol")
    await setup.succeeded(wallet_id)
    first = await archiver.run()
    await setup.refunding(wallet_id)
    second = await archiver.run()
    assert await archiver.run() == 0
    total = 0
    for number in setup.store.partitions:
        expected = await entries_of(setup.store, number)
        assert await events_of(archive, number) == expected
        total += len(expected)
    assert first + second == total
    assert (await verify(archive)).clean


async def test_a_record_is_archived_as_its_last_change_left_it(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    wallet_id = await setup.wallet()
    payment_id, claim = await setup.processing(wallet_id)
    await archiver.run()
    assert await status_of(archive, payment_id) == "processing"
    await setup.complete(payment_id, claim, "settled")
    await archiver.run()
    assert await status_of(archive, payment_id) == "succeeded"
    (paid,) = await archive.database.fetch(
        "SELECT status, payment_id FROM invoices WHERE payment_id = $1", payment_id
    )
    assert paid == ("paid", payment_id)


async def test_a_batch_is_not_the_end(
    setup: Setup, archive: Archive, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.storage.archive.archiver.BATCH", 3)
    monkeypatch.setattr("technopay.storage.archive.archiver.BATCHES", 2)
    wallet_id = await setup.wallet()
    for _ in range(5):
        await setup.succeeded(wallet_id)
    await archiver.run()
    number = number_of(setup.store)
    assert await events_of(archive, number) == await entries_of(setup.store, number)
    assert (await verify(archive)).clean


async def test_the_store_records_how_far_it_is_archived(setup: Setup, archiver: Archiver) -> None:
    before = await read_archive(setup.store)
    assert (before.lag_s, before.archived_to) == (None, None)
    await archiver.run()
    after = await read_archive(setup.store)
    assert after.lag_s == 0
    assert after.archived_to is not None
    await setup.wallet()
    waiting = await read_archive(setup.store)
    assert waiting.archived_to == after.archived_to
    assert waiting.lag_s is not None


async def test_without_news_nothing_is_written(setup: Setup, archiver: Archiver) -> None:
    await archiver.run()
    before = await dump(setup.store)
    assert await archiver.run() == 0
    assert await dump(setup.store) == before


async def test_one_process_archives_a_partition_at_a_time(setup: Setup, archiver: Archiver) -> None:
    number = number_of(setup.store)
    assert (await setup.store.run(ClaimArchive(number, "another", "0-0"))).code == "ok"
    await archiver._step()
    assert (await read_archive(setup.store)).archived_to is None


async def test_two_archivers_at_once_add_each_entry_once(
    setup: Setup, archive: Archive, archiver: Archiver, tmp_path: Path
) -> None:
    async with Archive.at(str(tmp_path / "archive.sqlite3")) as same:
        other = await setup.store.archiver(same)
        wallet_id = await setup.wallet(balance=100_000)

        async def buy() -> None:
            for _ in range(20):
                await setup.succeeded(wallet_id)

        buying = asyncio.create_task(buy())
        added = 0
        while not buying.done():
            added += sum(await asyncio.gather(archiver.run(), other.run()))
        await buying
        added += await archiver.run() + await other.run()
    counts = [len(await events_of(archive, number)) for number in setup.store.partitions]
    assert added == sum(counts)
    assert (await verify(archive)).clean


async def test_an_entry_that_another_process_added_meanwhile_is_not_added_again(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    await setup.wallet()
    await archiver.run()
    number = number_of(setup.store)
    before = await archive.read_position(number)
    (*_, entry) = (await setup.store.read_journal(number, Position(0, 0), 100)).entries
    stale = before._replace(chain="0" * 32)
    assert await archive.append(number, [entry], [], stale) is None
    assert await archive.read_position(number) == before


async def test_the_archive_of_another_store_is_refused(setup: Setup, archive: Archive) -> None:
    await (await setup.store.archiver(archive)).run()
    async with RedisStore.fake() as other:
        with pytest.raises(ArchiveUnfit, match="of another store: it has incarnation"):
            await (await other.archiver(archive)).begin()
        foreign = Archive(archive.database)
        await Setup(other).user("alice")
        with pytest.raises(ArchiveUnfit, match="of another store"):
            await (await other.archiver(foreign)).run()


@pytest.mark.corrupts
async def test_a_store_that_is_older_than_its_archive_is_refused(setup: Setup, archive: Archive) -> None:
    wallet_id = await setup.wallet()
    archiver = await setup.store.archiver(archive)
    await archiver.run()
    (*_, last) = await client_of(setup.store).xrange(setup.keys.journal)
    await client_of(setup.store).xdel(setup.keys.journal, last[0])
    with pytest.raises(ArchiveUnfit, match=f"has no entry {last[0]}.*older than its archive"):
        await archiver.compare()
    # It went on from there, so that it ends behind the archive.
    await setup.deposit(wallet_id, 5)
    for call in (archiver.compare, archiver.run):
        with pytest.raises(ArchiveUnfit, match=f"has no entry {last[0]}.*another one than its archive"):
            await call()


async def test_an_archive_that_is_older_than_its_store_is_brought_up(
    setup: Setup, archive: Archive, archiver: Archiver, tmp_path: Path
) -> None:
    wallet_id = await setup.wallet()
    await archiver.run()
    await archive.database.aclose()
    shutil.copy(tmp_path / "archive.sqlite3", tmp_path / "backup.sqlite3")
    await archive.database.open()
    await setup.succeeded(wallet_id)
    await archiver.run()
    await setup.deposit(wallet_id, 7)
    async with Archive.at(str(tmp_path / "backup.sqlite3")) as restored:
        await (await setup.store.archiver(restored)).run()
        assert (await verify(restored)).clean
        for number in setup.store.partitions:
            assert await events_of(restored, number) == await entries_of(setup.store, number)


@pytest.mark.parametrize("is_behind", [True, False])
async def test_an_archive_whose_chain_was_computed_anew_is_refused(
    setup: Setup, archive: Archive, archiver: Archiver, *, is_behind: bool
) -> None:
    wallet_id = await setup.wallet()
    await archiver.run()
    before = [await archive.read_position(number) for number in setup.store.partitions]
    await setup.succeeded(wallet_id)
    await archiver.run()
    await setup.deposit(wallet_id, 7)
    if is_behind:
        number = number_of(setup.store)
        changes = [
            Change("DELETE FROM events WHERE (entry_ms, entry_number) > ($1, $2)", [before[number].position]),
            Change(
                "UPDATE positions SET entry_ms = $1, entry_number = $2, entries = $3 WHERE partition = $4",
                [(*before[number].position, before[number].entries, number)],
            ),
        ]
        await archive.database.write(changes)
    await archive.database.write([Change("UPDATE positions SET chain = 'f' || substr(chain, 2) || 'f'")])
    with pytest.raises(ArchiveUnfit, match=r"has another (history up to|chain at its end)"):
        await archiver.run()


async def test_an_entry_that_differs_in_the_archive_is_refused(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    await setup.wallet()
    await archiver.run()
    await archive.database.write([Change("UPDATE events SET fields = replace(fields, '1', '2')")])
    with pytest.raises(ArchiveUnfit, match="differs in the store and its archive"):
        await archiver.compare()


@pytest.mark.corrupts
async def test_a_record_that_cannot_be_read_holds_up_no_other(
    setup: Setup, archive: Archive, archiver: Archiver, caplog: pytest.LogCaptureFixture
) -> None:
    wallet_id = await setup.wallet()
    broken, whole = await setup.succeeded(wallet_id), await setup.succeeded(wallet_id)
    await client_of(setup.store).hset(setup.keys.key("payment", broken), "amount", "many")
    await archiver.run()
    assert await archive.find_ids("payments", int(whole[4:6], 16), [broken, whole]) == {whole}
    assert f"the record {broken} cannot be archived" in caplog.text


async def test_an_archive_that_is_away_is_logged_once_and_goes_on_later(
    clocked: Setup, archive: Archive, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver = await clocked.store.archiver(archive)

    async def fail(_: object) -> bool:
        raise ArchiveUnavailable("The archive: no space left")

    with caplog.at_level(logging.INFO):
        with monkeypatch.context() as away:
            away.setattr(archive.database, "write", fail)
            assert [await archiver._step() for _ in range(3)] == [False] * 3
        assert await archiver._step()
    texts = [each.getMessage() for each in caplog.records if "archived" in each.getMessage()]
    assert len(texts) == 2, texts
    assert "no space left" in texts[0]
    assert (await verify(archive)).clean


async def test_an_archiver_beside_payments_rests_after_each_batch(
    clocked: Setup, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.storage.archive.archiver.BATCH", 2)
    archiver = await clocked.store.archiver(archive)
    times, rests = chain([10.0, 10.1, 20.0, 20.5], repeat(30.0)), []

    async def rest(delay_s: float) -> None:
        rests.append(round(delay_s, 3))

    monkeypatch.setattr(archiver._clock, "monotonic", lambda: next(times))
    monkeypatch.setattr(archiver, "_rest", rest)
    await clocked.wallet()
    assert await archiver._step()
    assert rests == [0.9, 4.5]
    await clocked.wallet()
    assert await archiver.run() > 0
    assert len(rests) == 2, "a run by hand does not rest"


async def test_the_claim_of_a_process_that_vanished_ends(
    clocked: Setup, archive: Archive, fake_clock: FakeClock
) -> None:
    assert (await clocked.store.run(ClaimArchive(0, "vanished", "0-0"))).code == "ok"
    archiver = await clocked.store.archiver(archive)
    fake_clock.advance(29_999)
    assert not await archiver._step()
    fake_clock.advance(2)
    assert await archiver._step()
