"""Listeners to entries that are only in the archive, while that is away: they alone end, and come again."""

import asyncio
import logging

import pytest
from support.fixtures.list_journal import Desk, ListJournals, feed_of, take

from technopay.engine import ArchiveUnavailable, Subscription, background
from technopay.engine.events import feed as feeding
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.subjects import IS_EVENT
from technopay.engine.values import JournalBatch, Position

LATE = 6
"""The number of listeners to the past."""


def desk_of(entries: int = 20, trimmed: int = 10, **changes: int) -> Desk:
    desk = Desk(listeners_per_user_max=LATE + 2, **changes)
    desk.journal.write(*["alice"] * entries)
    desk.journal.trimmed_to = Position(trimmed, 0)
    return desk


async def rest_of(listener: Subscription) -> list[int]:
    """Return the numbers of the events up to the end of the iteration."""
    return [int(event.id[6:-2]) async for event in listener]


async def test_without_the_archive_nobody_begins_in_what_was_trimmed() -> None:
    desk = desk_of()
    desk.journal.is_archive_away = True
    for after in (0, 9) * LATE:
        with pytest.raises(ArchiveUnavailable):
            await desk.listen(after=after)
    assert desk.feed.listeners == 0, "it took no room"
    newcomer = await desk.listen("newcomer", after=0)
    listeners = [await desk.listen(after=after) for after in (10, 15, 20, None)]
    await desk.read_all()
    assert [await take(each) for each in listeners] == [[*range(11, 21)], [*range(16, 21)], [], []]
    assert newcomer.waiting == 0
    desk.journal.is_archive_away = False
    again = await desk.listen(after=0)
    await desk.read_all()
    assert await take(again) == [*range(1, 21)]


async def test_without_the_archive_nobody_begins_with_a_cursor_in_what_was_trimmed_of_one_partition() -> None:
    journals = ListJournals(3)
    for partition in journals.partitions:
        journals.write(partition, 4)
    journals.journals[1].trimmed_to = Position(3, 0)
    journals.journals[1].is_archive_away = True
    feed = feed_of(journals, Desk().clock, operator_listeners_max=1)
    for number in (0, 2):
        begins = [Position(4, 0), Position(number, 0), Position(4, 0)]
        with pytest.raises(ArchiveUnavailable):
            await feed.listen_to_all(Cursor(begins, 0), IS_EVENT)
    begins[1] = Position(3, 0)
    await feed.listen_to_all(Cursor(begins, 0), IS_EVENT)
    assert feed.listeners == 1


async def test_a_late_listener_ends_when_its_archive_goes_away_and_disturbs_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feeding, "BATCH", 4)
    desk = desk_of()
    live = await desk.listen()
    past = [await desk.listen(after=0) for _ in range(LATE)]
    late = await desk.listen(after=12)
    assert await desk.feed.step()
    desk.journal.is_archive_away = True
    desk.journal.write("alice")
    with caplog.at_level(logging.INFO):
        await desk.read_all()
        slept = len(desk.clock.slept)
        for _ in range(10):
            await desk.feed.step()
    assert await take(live) == [21]
    assert await take(late) == [*range(13, 22)]
    assert [await rest_of(each) for each in past] == [[1, 2, 3, 4]] * LATE
    assert desk.feed.listeners == 2
    assert (desk.journal.failed_reads, len(caplog.records)) == (LATE, LATE), "one for each, then no more"
    assert len(desk.clock.slept) == slept


async def test_a_live_listener_that_was_overtaken_by_the_trimmer_ends_alone() -> None:
    """The process was paused for longer than entries stay in the store."""
    desk = desk_of()
    paused = await desk.listen()
    desk.journal.write(*["alice"] * 5)
    desk.journal.trimmed_to, desk.journal.is_archive_away = Position(23, 0), True
    other = await desk.listen("alice", after=24)
    await desk.read_all()
    assert await rest_of(paused) == []
    assert await take(other) == [25]


async def test_an_archive_that_does_not_reply_holds_up_no_live_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "PATIENCE_S", 0.01)
    desk, gate = desk_of(), asyncio.Event()
    live, past = await desk.listen(), await desk.listen(after=0)
    whole = desk.journal.read_journal

    async def read_journal(partition: int, after: Position, limit: int) -> JournalBatch:
        if after < desk.journal.trimmed_to:
            await gate.wait()
        return await whole(partition, after, limit)

    monkeypatch.setattr(desk.journal, "read_journal", read_journal)
    for number in range(21, 24):
        desk.journal.write("alice")
        async with asyncio.timeout(5):
            await desk.feed.step()
        assert await take(live) == [number]
    gate.set()
    await asyncio.sleep(0.01)
    await desk.read_all()
    assert await take(past) == [*range(1, 24)]
