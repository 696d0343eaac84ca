"""Listeners to all users: every event once and in order from any cursor, at a bounded number of reads."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest
from support.fixtures.doubles import ManualClock
from support.fixtures.list_journal import ListJournals, feed_of, places

from technopay.engine import EventPositionUnknown, Overloaded, StoreUnavailable, Subscription, background
from technopay.engine.events import feed as feeding
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.feed import Feed
from technopay.engine.events.subjects import IS_EVENT
from technopay.engine.polling import IDLE_POLLS_PER_S_MAX
from technopay.engine.values import JournalBatch, Position

INTERVAL_S = 0.5


class Desk:
    """A feed over journals of several partitions, which reads on demand."""

    def __init__(self, partitions: int, **changes: Any) -> None:
        self.journals = ListJournals(partitions)
        self.clock = ManualClock()
        self.feed: Feed = feed_of(self.journals, self.clock, events_interval_s=INTERVAL_S, **changes)

    def write(self, partition: int, count: int = 1, kind: str = "payment.refused") -> None:
        self.journals.write(partition, count, kind)
        self.feed.wake(partition)

    async def listen(self, after: str | None = None, types: Any = IS_EVENT) -> Subscription:
        cursor = None if after is None else Cursor.read(after, len(self.journals.partitions))
        return await self.feed.listen_to_all(cursor, types)

    async def read_all(self) -> None:
        while await self.feed.step():
            pass

    async def step(self) -> bool:
        """Read what is due by now."""
        self.clock.pass_time(INTERVAL_S)
        return await self.feed.step()


async def take(listener: Subscription, count: int | None = None) -> list[tuple[int, int]]:
    """Take waiting events; return their places."""
    return places([await anext(listener) for _ in range(listener.waiting if count is None else count)])


def numbers_of(found: list[tuple[int, int]], partition: int) -> list[int]:
    return [number for each, number in found if each == partition]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("seed", range(20))
async def test_a_listener_that_resumes_from_any_cursor_gets_every_event_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, seed: int, partitions: int
) -> None:
    monkeypatch.setattr(feeding, "BATCH", 3)
    random = Random(seed)
    desk = Desk(partitions, events_waiting_max=4, operator_listeners_max=100)
    listener = await desk.listen()
    other = await desk.listen(str(Cursor.beginning(partitions)), {"payment.failed"})
    found: list[tuple[int, int]] = []
    failed: list[tuple[int, int]] = []
    for _ in range(150):
        match random.randrange(4):
            case 0:
                kind = random.choice(["payment.refused", "payment.failed"])
                desk.write(random.randrange(partitions), random.randrange(8), kind)
            case 1:
                await desk.step()
            case 2:
                found += await take(listener, random.randint(0, listener.waiting))
                failed += await take(other, random.randint(0, other.waiting))
            case _:
                # What waits is dropped, and read again after the cursor.
                cursor = listener.cursor
                await listener.aclose()
                listener = await desk.listen(cursor)
                cursor = other.cursor
                await other.aclose()
                other = await desk.listen(cursor, {"payment.failed"})
    quiet = 0
    while quiet < 12:
        is_busy = await desk.step() or listener.waiting or other.waiting
        quiet = 0 if is_busy else quiet + 1
        found += await take(listener)
        failed += await take(other)
    for partition, journal in enumerate(desk.journals.journals):
        count = len(journal.entries)
        assert numbers_of(found, partition) == list(range(1, count + 1))
        wanted = [number for number in range(1, count + 1) if journal.types[f"{number}-0"] == "payment.failed"]
        assert numbers_of(failed, partition) == wanted


async def test_one_reading_serves_users_and_operators() -> None:
    desk = Desk(2)
    user = await desk.feed.listen("user-1", None)
    first, second = await desk.listen(), await desk.listen(types={"payment.failed"})
    await desk.read_all()
    desk.journals.reads.clear()
    desk.write(1, 3)
    await desk.read_all()
    assert desk.journals.reads == [(1, 3)]
    assert await take(user) == await take(first) == [(1, 1), (1, 2), (1, 3)]
    assert second.waiting == 0


async def test_the_cursor_passes_what_the_filter_leaves_out() -> None:
    desk = Desk(2)
    listener = await desk.listen(types={"payment.failed"})
    desk.write(0, 5)
    await desk.read_all()
    assert listener.cursor == str(Cursor((Position(5, 0), Position(0, 0))))
    desk.write(1, kind="payment.failed")
    desk.write(1, 4)
    await desk.read_all()
    assert listener.cursor == str(Cursor((Position(5, 0), Position(0, 0)))), "an event waits"
    assert await take(listener) == [(1, 1)]
    assert listener.cursor == str(Cursor((Position(5, 0), Position(1, 0))))


async def test_an_idle_store_of_many_partitions_is_read_at_a_bounded_rate() -> None:
    desk = Desk(256)
    for _ in range(3):
        await desk.listen()
    await desk.read_all()
    desk.journals.reads.clear()
    for _ in range(round(20 / INTERVAL_S)):
        await desk.step()
    assert len(desk.journals.reads) / 20 == pytest.approx(IDLE_POLLS_PER_S_MAX, rel=0.1)
    assert set(Counter(desk.journals.reads)) == {(partition, 0) for partition in range(256)}


async def test_a_commit_of_this_process_is_read_at_once_and_nothing_else_is() -> None:
    desk = Desk(256)
    listener = await desk.listen()
    await desk.read_all()
    desk.journals.reads.clear()
    desk.write(77, 2)
    await desk.feed.step()
    assert desk.journals.reads == [(77, 2)]
    assert await take(listener) == [(77, 1), (77, 2)]


async def test_after_news_of_another_process_more_is_expected_soon() -> None:
    desk = Desk(256)
    listener = await desk.listen()
    await desk.read_all()
    desk.journals.write(9)
    for _ in range(8):
        await desk.step()
    assert await take(listener) == [(9, 1)]
    desk.journals.write(9)
    await desk.step()
    assert await take(listener) == [(9, 2)]


async def test_a_partition_that_does_not_answer_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PATIENCE_S", 0.01)
    desk, gate = Desk(3), asyncio.Event()
    whole = desk.journals.read_journal

    async def read_journal(partition: int, after: Position, limit: int) -> JournalBatch:
        if partition == 1 and not gate.is_set():
            await gate.wait()
            raise StoreUnavailable
        return await whole(partition, after, limit)

    for partition in range(3):
        desk.write(partition, 2)
    live, late = await desk.listen(), await desk.listen(str(Cursor.beginning(3)))
    monkeypatch.setattr(desk.journals, "read_journal", read_journal)
    for partition in range(3):
        desk.write(partition)
    for _ in range(8):
        await desk.step()
    assert sorted(await take(live)) == [(0, 3), (2, 3)]
    assert sorted(await take(late)) == [(0, 1), (0, 2), (0, 3), (2, 1), (2, 2), (2, 3)]
    gate.set()
    for _ in range(8):
        await asyncio.sleep(0)
        await desk.step()
    assert await take(live) == [(1, 3)]
    assert await take(late) == [(1, 1), (1, 2), (1, 3)]


async def test_a_busy_partition_keeps_none_of_the_others_waiting() -> None:
    desk = Desk(8, events_waiting_max=4)
    desk.journals.write(0, 1_000)
    for partition in range(1, 8):
        desk.journals.write(partition)
    listener = await desk.listen(str(Cursor.beginning(8)))
    found: list[tuple[int, int]] = []
    for _ in range(20):
        await desk.step()
        found += await take(listener)
    assert {partition for partition, _ in found} == set(range(8))


async def test_a_cursor_ahead_of_a_journal_is_unknown_and_takes_no_room() -> None:
    desk = Desk(2, operator_listeners_max=1)
    for _ in range(3):
        with pytest.raises(EventPositionUnknown):
            await desk.listen(str(Cursor((Position(0, 0), Position(1, 0)))))
    await desk.listen()


async def test_operators_have_a_bounded_number_of_listeners_of_their_own() -> None:
    desk = Desk(2, operator_listeners_max=2, listeners_max=3)
    first, _ = await desk.listen(), await desk.listen()
    with pytest.raises(Overloaded):
        await desk.listen()
    await desk.feed.listen("user-1", None)
    await first.aclose()
    await desk.listen()
    with pytest.raises(Overloaded):
        await desk.feed.listen("user-0", None)
    await desk.feed.stop(1)
    assert desk.feed.listeners == 0
