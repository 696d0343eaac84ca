"""Checkpoints: what they have follows from the journal alone, and a changed one is refused."""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from support.fixtures.all_reads import make_past, refund
from support.fixtures.archives import META
from support.fixtures.clock import FakeClock
from support.fixtures.random_history import RandomHistory
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import Setup

from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage import Archive, ArchiveUnfit
from technopay.storage.archive import checkpoints
from technopay.storage.archive.checkpoints import (
    Checkpoint,
    add_checkpoint,
    apply_entries,
    first_checkpoint,
    follows,
    has_checkpoint,
    last_checkpoint,
    load_checkpoint,
    note_invoices,
    read_checkpoints,
    remove_rows_before,
)
from technopay.storage.archive.database import Change
from technopay.storage.archive.rows import ArchivePosition, entry_of
from technopay.storage.audit.effects import apply
from technopay.storage.audit.ledger import Ledger
from technopay.storage.audit.snapshot import load, snapshot

Rows = Sequence[Sequence[Any]]


async def fold_rows(archive: Archive, entries: Sequence[JournalEntry]) -> list[Rows]:
    """Return the snapshots behind each entry, of one ledger without differences."""
    found, differences = [], list[Any]()
    with closing(Ledger(differences.append)) as ledger:
        for entry in entries:
            apply(ledger, entry)
            found.append(await rows_of(archive, ledger))
    assert differences == []
    return found


async def rows_of(archive: Archive, ledger: Ledger) -> Rows:
    await note_invoices(archive, 0, ledger)
    return [json.loads(json.dumps(row)) for batch in snapshot(ledger, 50) for row in batch]


async def copy(setup: Setup, archive: Archive) -> list[JournalEntry]:
    await (await setup.store.archiver(archive)).run()
    return [entry_of(row) for row in await archive.read_events(0, BEGINNING, 10_000)]


async def assert_pure(setup: Setup, archive: Archive) -> list[Rows]:
    """Assert that the snapshot at each entry is the same from each earlier snapshot on; so it is from several.

    A snapshot is loaded from its rows alone.
    """
    entries = await copy(setup, archive)
    direct = await fold_rows(archive, entries)
    for cut in range(len(entries) - 1):
        differences: list[Any] = []
        with closing(Ledger(differences.append)) as ledger:
            load(ledger, direct[cut])
            loaded = Position.of(entries[cut].id)
            for place in range(cut + 1, len(entries)):
                await apply_entries(archive, 0, ledger, [entries[place]], loaded)
                if (place - cut) % 5 == 1 or place == len(entries) - 1:
                    assert await rows_of(archive, ledger) == direct[place], (cut, place)
        assert differences == []
    return direct


@pytest.mark.parametrize("seed", [1, 2, 7])
async def test_a_checkpoint_of_a_random_history_does_not_depend_on_earlier_ones(
    clocked: Setup, archive: Archive, fake_clock: FakeClock, seed: int
) -> None:
    await RandomHistory(clocked, fake_clock, seed).run()
    await assert_pure(clocked, archive)
    types = {each.type for each in await copy(clocked, archive)}
    refunds = {f"payment.{end}" for end in ("refunding", "refunded", "partially_refunded", "refund_failed")}
    assert refunds | {"payment.set_aside", "payment.failed", "limit.set"} <= types


async def test_a_checkpoint_between_any_steps_of_refunds_does_not_depend_on_earlier_ones(
    clocked: Setup, archive: Archive
) -> None:
    past = await make_past(clocked, "alice")
    await refund(clocked, past["paid"], 10)
    await refund(clocked, past["paid"], 20, "refund_failed")
    await refund(clocked, past["paid"], 30)
    await refund(clocked, past["part"])
    open_refund, _ = await clocked.refunding(past["wallet"])
    processing, claim = await clocked.processing(past["wallet"])
    assert await set_aside(clocked.store, processing, claim, 15_000)
    rows = (await assert_pure(clocked, archive))[-1]
    open_payments = {row[1]: row for row in rows if row[0] == "payment"}
    assert set(open_payments) == {open_refund, processing}, "payments that ended are in the sums"
    assert [row for row in rows if row[0] == "settled"] == [["settled", "EUR", 4, 500 - 10 - 30]]
    assert [row[1] for row in rows if row[0] == "deposit"] == [past["wallet"]]
    paid = await clocked.payment(past["paid"])
    declined = await clocked.payment(past["declined"])
    invoices = {row[1] for row in rows if row[0] == "invoice"}
    assert paid.invoice_id not in invoices
    assert declined.invoice_id in invoices


async def no_pause() -> None:
    pass


async def add_at(archive: Archive, before: Checkpoint, end: JournalEntry | None = None) -> Checkpoint | None:
    """Add the checkpoint behind an entry, by default the last one, from another checkpoint on."""
    until = Position.of(end.id) if end else (await archive.read_position(0)).position
    with closing(Ledger(lambda _: None)) as ledger:
        await load_checkpoint(archive, 0, before, ledger)
        rows = await archive.read_events(0, before.position, 10_000, until)
        await apply_entries(archive, 0, ledger, [entry_of(row) for row in rows], before.position)
        position = ArchivePosition(until, rows[-1][-1], before.entries + len(rows))
        return await add_checkpoint(archive, 0, ledger, before, position, no_pause)


@pytest.fixture
async def checkpoint(clocked: Setup, archive: Archive, fake_clock: FakeClock) -> Checkpoint:
    """The checkpoint at the end of an archive, behind two earlier ones."""
    await RandomHistory(clocked, fake_clock, 1).run()
    entries = await copy(clocked, archive)
    last = await first_checkpoint(archive, 0)
    for entry in (entries[20], entries[50], entries[-1]):
        added = await add_at(archive, last, entry)
        assert added is not None
        assert (added.digest_before, added.entries) == (last.digest, entries.index(entry) + 1)
        last = added
    return last


async def test_a_checkpoint_follows_from_the_first_entry_and_the_digest_before(
    archive: Archive, checkpoint: Checkpoint
) -> None:
    assert await last_checkpoint(archive, 0) == checkpoint
    assert len({each.digest for each in await read_checkpoints(archive, 0)}) == 3
    rows = await archive.read_events(0, BEGINNING, 10_000)
    with closing(Ledger(lambda _: None)) as ledger:
        for row in rows[:-1]:
            apply(ledger, entry_of(row))
        assert not await follows(archive, 0, ledger, checkpoint)
        apply(ledger, entry_of(rows[-1]))
        assert await follows(archive, 0, ledger, checkpoint)
        for other in (
            checkpoint._replace(digest_before="0" * 32), checkpoint._replace(chain="0" * 32),
            checkpoint._replace(entries=checkpoint.entries + 1), checkpoint._replace(position=Position(9, 9)),
        ):  # fmt: skip
            assert not await follows(archive, 0, ledger, other)
        assert not await follows(archive, 1, ledger, checkpoint)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE checkpoint_rows SET content = replace(content, 'alice', 'mallory') WHERE number = 1",
        "UPDATE checkpoint_rows SET content = replace(content, '\"EUR\"', '\"USD\"')",
        "UPDATE checkpoint_rows SET content = 'no JSON' WHERE number = 2",
        "UPDATE checkpoint_rows SET content = '[\"nothing\", 1]' WHERE number = 2",
        "UPDATE checkpoint_rows SET content = '[]' WHERE number = 2",
        "DELETE FROM checkpoint_rows WHERE number = 3",
        "DELETE FROM checkpoint_rows",
        "INSERT INTO checkpoint_rows SELECT partition, entry_ms, entry_number, 9999, '[]' FROM checkpoints",
    ],
)
async def test_a_checkpoint_with_a_changed_row_is_refused(
    archive: Archive, checkpoint: Checkpoint, statement: str
) -> None:
    with closing(Ledger(lambda _: None)) as ledger:
        await load_checkpoint(archive, 0, checkpoint, ledger)
    await archive.database.write([Change(statement)])
    with (
        closing(Ledger(lambda _: None)) as ledger,
        pytest.raises(
            ArchiveUnfit, match=f"the checkpoint of partition 00 at {checkpoint.position} was changed"
        ),
    ):
        await load_checkpoint(archive, 0, checkpoint, ledger)


async def test_a_checkpoint_with_another_digest_is_not_the_one_of_the_store(
    archive: Archive, checkpoint: Checkpoint
) -> None:
    assert await has_checkpoint(archive, 0, checkpoint.position, checkpoint.digest)
    assert not await has_checkpoint(archive, 0, checkpoint.position, "0" * 32)
    assert not await has_checkpoint(archive, 1, checkpoint.position, checkpoint.digest)
    assert not await has_checkpoint(archive, 0, Position(1, 1), checkpoint.digest)


async def test_a_checkpoint_is_added_once(archive: Archive, checkpoint: Checkpoint) -> None:
    *_, before, _ = await read_checkpoints(archive, 0)
    assert await add_at(archive, before) is None, "at the same position"
    rows = await archive.read_events(0, before.position, 2)
    assert await add_at(archive, before, entry_of(rows[0])) is None, "behind the same checkpoint"
    assert await last_checkpoint(archive, 0) == checkpoint
    with closing(Ledger(lambda _: None)) as ledger:
        await load_checkpoint(archive, 0, checkpoint, ledger)


async def test_rows_that_are_not_there_after_their_commit_are_no_checkpoint(
    archive: Archive, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, before, _ = await read_checkpoints(archive, 0)
    await archive.database.write([Change("DELETE FROM checkpoints WHERE digest = $1", [(checkpoint.digest,)])])
    write, lost = archive.database.write, (checkpoint.position.at_ms,)

    async def write_and_lose(changes: Any) -> bool:
        done = await write(changes)
        await write([Change("DELETE FROM checkpoint_rows WHERE entry_ms = $1 AND number = 3", [lost])])
        return done

    with monkeypatch.context() as losing:
        losing.setattr(archive.database, "write", write_and_lose)
        with pytest.raises(ArchiveUnfit, match="the archive lost rows of a checkpoint"):
            await add_at(archive, before)
    assert await last_checkpoint(archive, 0) == before
    assert await add_at(archive, before) == checkpoint, "what the first one left does no harm"


async def test_a_payment_without_a_row_holds_the_checkpoint_up(
    archive: Archive, checkpoint: Checkpoint
) -> None:
    first = await first_checkpoint(archive, 0)
    await archive.database.write([Change("DELETE FROM checkpoints"), Change("DELETE FROM payments")])
    with pytest.raises(ArchiveUnfit, match=r"the payment pay_\w+ is not archived: it could not be read"):
        await add_at(archive, first)
    assert await read_checkpoints(archive, 0) == []


async def test_statements_of_checkpoints_run_on_both_databases(
    archive_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Add, read and remove checkpoints of one partition beside that of another one."""
    monkeypatch.setattr(checkpoints, "BATCH", 3)
    monkeypatch.setattr(checkpoints, "REMOVED", 4)
    async with Archive.at(archive_location) as archive:
        await archive.bind(META)
        added: dict[int, list[Checkpoint]] = {0: [], 1: []}
        for number in (0, 1):
            before = await first_checkpoint(archive, number)
            assert await last_checkpoint(archive, number) == before
            assert before.digest != (await first_checkpoint(archive, 1 - number)).digest
            with closing(Ledger(lambda _: None)) as ledger:
                for place in range(1, 9):
                    apply(ledger, JournalEntry(f"{place}-0", "user.created", f"user{place}", {}))
                    position = ArchivePosition(Position(place, 0), f"chain {place}", place)
                    after = await add_checkpoint(archive, number, ledger, before, position, no_pause)
                    assert after is not None
                    assert await add_checkpoint(archive, number, ledger, before, position, no_pause) is None
                    before = after
                    added[number].append(before)
        assert await read_checkpoints(archive, 0) == added[0]
        assert await last_checkpoint(archive, 0) == added[0][-1]
        await remove_rows_before(archive, 0, Position(7, 0))
        kept = "SELECT DISTINCT partition, entry_ms FROM checkpoint_rows ORDER BY partition, entry_ms"
        assert [tuple(row) for row in await archive.database.fetch(kept)] == [
            (0, 7), (0, 8), *((1, place) for place in range(1, 9)),
        ]  # fmt: skip
        assert await read_checkpoints(archive, 0) == added[0], "their digests stay"
        with closing(Ledger(lambda _: None)) as ledger:
            await load_checkpoint(archive, 0, added[0][-1], ledger)
            assert ledger.count("user") == 8
        with pytest.raises(ArchiveUnfit, match="was changed in the archive"):
            await load_checkpoint(archive, 0, added[0][0], Ledger(lambda _: None))
