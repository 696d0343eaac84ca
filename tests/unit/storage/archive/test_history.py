"""The history that left a store: read from its archive, and only from that one; the rest works without it."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.all_reads import (
    entries_of,
    events_after,
    list_all,
    make_past,
    refund,
    searches,
    statement_of,
)
from support.fixtures.store_commands import list_entries, read_statement, take_due
from support.fixtures.store_setup import Setup, operation, value_of
from support.fixtures.trimming import Trimming, relay_journals

from technopay.engine import commands, reads
from technopay.engine.errors import ArchiveUnavailable, StoreUnavailable
from technopay.engine.events.cursor import Cursor
from technopay.engine.record import to_ms
from technopay.engine.values import BEGINNING, Position
from technopay.storage import Archive, RedisStore
from technopay.storage.archive.database import Change
from technopay.storage.archive.history import History

pytestmark = pytest.mark.any_partition


def detach(store: RedisStore) -> None:
    for partition in store._partitions:
        partition.history = None


def needing_history(setup: Setup, past: dict[str, str]) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return reads, each of which needs what left the store."""
    own, wallet_id = setup.store.partition_of("alice"), past["wallet"]
    again = commands.ChangeBalance(operation(), wallet_id, 1, reference="line 1", by="root")
    return {
        **{
            name: partial(list_all, setup, make, 50)
            for name, make in searches(1).items()
            if name != "payments set aside"
        },
        "entries": lambda: entries_of(setup, wallet_id, 50),
        "statement": lambda: statement_of(setup, wallet_id, None, None, 50),
        "events": lambda: events_after(setup, Cursor.beginning(len(setup.store.partitions)), 10),
        "journal": lambda: setup.store.read_journal(own, BEGINNING, 5),
        "deposit again": lambda: setup.run(again),
        "payment": lambda: setup.done(reads.ReadPayment(past["paid"], "alice")),
        "refunded payment": lambda: setup.done(reads.FindPayment(past["whole"])),
        "audit": lambda: setup.store.audit(),
        "full audit": lambda: setup.store.audit(full=True),
    }


async def assert_needs(setup: Setup, past: dict[str, str], match: str) -> None:
    """Assert that each read of trimmed entries fails because of the archive, and what is live works."""
    for name, read in needing_history(setup, past).items():
        with pytest.raises(ArchiveUnavailable, match=match):
            pytest.fail(f"{name} returned {await read()}")
    await assert_live(setup, past)


async def assert_live(setup: Setup, past: dict[str, str]) -> None:
    """Assert that payments, refunds, deposits and reads of live records work."""
    wallet_id = past["wallet"]
    own, end = setup.store.partition_of("alice"), await setup.store.read_end(setup.store.partition_of("alice"))
    payment_id = await setup.succeeded(wallet_id, 10)
    await refund(setup, payment_id, 1)
    assert (await setup.payment(payment_id)).status == "succeeded"
    await setup.void(await setup.invoice())
    deposit = commands.ChangeBalance(operation(), wallet_id, 3, reference=operation().operation_id, by="root")
    for _ in range(2):
        assert (await setup.run(deposit)).code == "ok"
    await relay_journals(setup.store)
    await take_due(setup.store, 10)
    page = value_of(await list_entries(setup.store, wallet_id, None, "", 2))
    assert [each.amount for each in page.data] == [3, 1]
    statement = value_of(await read_statement(setup.store, wallet_id, to_ms(page.data[0].at), limit=5))
    assert statement.data
    found = await setup.done(reads.SearchPayments(None, None, None, "", 1))
    assert [each.id for each in found.data] == [payment_id]
    assert (await setup.store.read_journal(own, end, 100)).entries
    assert (await setup.store.read_meta())["schema"]
    await setup.store.measure()


@pytest.fixture
async def past(trimming: Trimming) -> dict[str, str]:
    """The ids of a history that left the store."""
    past = await make_past(trimming.setup, "alice")
    await trimming.trim()
    return past


async def test_without_an_archive_only_trimmed_history_is_unavailable(
    trimming: Trimming, past: dict[str, str]
) -> None:
    detach(trimming.store)
    await assert_needs(trimming.setup, past, "The history up to .* is in an archive, and none is attached")
    await trimming.store.attach(trimming.archive)
    for read in needing_history(trimming.setup, past).values():
        await read()


async def test_the_archive_of_another_store_is_not_read(
    trimming: Trimming, past: dict[str, str], tmp_path: Path
) -> None:
    async with RedisStore.fake(partitions=len(trimming.store.partitions)) as other:
        await Setup(other).user("alice")
        async with Archive.at(str(tmp_path / "other.sqlite3")) as foreign:
            await (await other.archiver(foreign)).run()
        async with Archive.at(str(tmp_path / "other.sqlite3")) as foreign:
            await trimming.store.attach(foreign)
            await assert_needs(trimming.setup, past, "The archive: the archive is of another store")
    await trimming.store.attach(trimming.archive)


async def test_an_archive_without_the_checkpoint_of_the_store_is_not_read(
    trimming: Trimming, past: dict[str, str]
) -> None:
    kept = await trimming.archive.database.fetch("SELECT * FROM checkpoints")
    await trimming.archive.database.write([Change("DELETE FROM checkpoints")])
    await trimming.store.attach(trimming.archive)
    await assert_needs(trimming.setup, past, "The archive: the archive lacks the checkpoint of partition")
    put = "INSERT INTO checkpoints VALUES ($1, $2, $3, $4, $5, $6, $7)"
    await trimming.archive.database.write([Change(put, kept)])


async def test_a_place_without_an_archive_is_not_read_and_stays_empty(
    trimming: Trimming, past: dict[str, str], tmp_path: Path
) -> None:
    async with Archive.at(str(tmp_path / "missing" / "archive.sqlite3")) as nothing:
        await trimming.store.attach(nothing)
        await assert_needs(trimming.setup, past, "The archive .*: .*No such file")
    assert not (tmp_path / "missing").exists()
    await trimming.store.attach(trimming.archive)


async def test_history_is_read_again_when_its_archive_is_back(
    trimming: Trimming, past: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = needing_history(trimming.setup, past)["journal"]
    found = await journal()

    async def fail(*_: object) -> None:
        raise ArchiveUnavailable("The archive: it is away")

    with monkeypatch.context() as away:
        away.setattr(trimming.archive.database, "fetch", fail)
        await assert_needs(trimming.setup, past, "it is away")
    assert await journal() == found


async def test_a_store_that_was_never_trimmed_reads_nothing_of_an_archive(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = await make_past(trimming.setup, "alice")
    await trimming.copy()

    async def fail(*_: object) -> None:
        raise AssertionError("it is read")

    with monkeypatch.context() as unread:
        unread.setattr(trimming.archive.database, "fetch", fail)
        for read in needing_history(trimming.setup, past).values():
            await read()


async def test_a_closed_store_has_no_history(fake_store: RedisStore, archive: Archive) -> None:
    await fake_store.attach(archive)
    await fake_store.aclose()
    assert [each.history for each in fake_store._partitions] == [None]
    with pytest.raises(StoreUnavailable):
        await fake_store._partition.read_trimmed()


async def test_the_checkpoint_of_the_store_is_proved_once(
    trimming: Trimming, past: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = trimming.store.partition_of("alice")
    partition = trimming.store._partitions[own]
    trimmed = await partition.read_trimmed()
    assert trimmed is not None
    history = History(trimming.archive, await trimming.store.read_meta())
    found = await history.checkpoint(trimmed)
    assert (found.position, found.digest) == (trimmed.to, trimmed.checkpoint)

    async def fail(*_: object) -> None:
        raise AssertionError("it is read again")

    with monkeypatch.context() as unread:
        unread.setattr(trimming.archive.database, "fetch", fail)
        assert await history.checkpoint(trimmed) == found
    for other in (trimmed._replace(checkpoint="0" * 32), trimmed._replace(to=Position(1, 1))):
        with pytest.raises(ArchiveUnavailable, match="lacks the checkpoint"):
            await history.checkpoint(other)
    # Nothing behind the cut is history.
    behind = await trimming.kept(own)
    await trimming.setup.wallet()
    await trimming.copy()
    batch = await history.read(trimmed, BEGINNING, 1_000, Position(10**15, 0))
    assert (batch.end, batch.is_last, len(behind)) == (trimmed.to, False, 1)
    assert await history.read_entries(trimmed, [str(await trimming.store.read_end(own))]) == {}
    newest = await history.read_backwards(trimmed, Position(10**15, 0), 1)
    assert [Position.of(each.id) for each in newest] == [trimmed.to]


async def test_statements_of_history_run_on_both_databases(archive_location: str) -> None:
    async with RedisStore.fake() as store, Archive.at(archive_location) as archive:
        setup = Setup(store)
        await setup.user("alice")
        past = await make_past(setup, "alice")
        await (await store.archiver(archive)).run()
        events = [Position(row[1], row[2]) for row in await archive.read_events(0, BEGINNING, 1_000)]
        assert await archive.read_events_at(0, []) == []
        picked = await archive.read_events_at(0, [events[3], Position(1, 1), events[1]])
        assert {Position(row[1], row[2]) for row in picked} == {events[1], events[3]}
        assert await archive.read_events_at(1, [events[3]]) == []
        back = await archive.read_events_backwards(0, events[6], 3, events[-1])
        assert [Position(row[1], row[2]) for row in back] == [events[5], events[4], events[3]]
        back = await archive.read_events_backwards(0, events[6], 3, events[2])
        assert [Position(row[1], row[2]) for row in back] == [events[2], events[1], events[0]]
        last = await archive.read_last_event(0, events[4])
        assert last is not None
        assert last.position == events[4]
        between = Position(events[4].at_ms, events[4].number + 7)
        last = await archive.read_last_event(0, between)
        assert last is not None
        assert last.position == max(each for each in events if each <= between)
        assert await archive.read_last_event(0, BEGINNING) is None
        invoice = (await setup.fields("payment", past["paid"]))["invoice"]
        assert await archive.read_invoices_of(0, [past["paid"], "pay_00nowhere"]) == {past["paid"]: invoice}
        records = await archive.read_records(0, [past["paid"], invoice, "pay_00nowhere"])
        assert records[past["paid"]] == await setup.fields("payment", past["paid"])
        assert set(records) == {past["paid"], invoice}
