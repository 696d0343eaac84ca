"""Pages of the events of all users: nothing is skipped, no partition waits for a busy one, work is bounded."""

from random import Random
from typing import Any

import pytest
from support.fixtures.list_journal import ListJournals, places

from technopay.engine import EventPage, EventPositionUnknown
from technopay.engine.events import pages
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.subjects import IS_EVENT
from technopay.engine.values import Position


async def read(
    store: ListJournals, after: str | None = None, limit: int = 20, types: Any = IS_EVENT
) -> EventPage:
    journals: Any = store
    count = len(store.partitions)
    cursor = Cursor.beginning(count) if after is None else Cursor.read(after, count)
    return await pages.read_page(journals, cursor, types, limit)


@pytest.mark.parametrize("seed", range(20))
async def test_every_event_comes_once_and_in_the_order_of_its_partition_while_others_are_written(
    seed: int,
) -> None:
    random, store = Random(seed), ListJournals(5)
    after, found, is_writing = None, [], True
    while True:
        if is_writing:
            for _ in range(random.randrange(4)):
                partition = random.randrange(5)
                store.write(partition, random.randrange(30))
                store.journals[partition].write(*["nobody"] * random.randrange(3))
            is_writing = random.random() < 0.9
        page = await read(store, after, limit=random.randrange(1, 30))
        again = await read(store, after, limit=100)
        assert places(again.data)[:1] == places(page.data)[:1] or not again.data, "the same place again"
        found += places(page.data)
        after = page.next_cursor
        if not page.has_more and not is_writing:
            break
    for partition, journal in enumerate(store.journals):
        numbers = [number for each, number in found if each == partition]
        owners = enumerate(journal.entries, 1)
        assert numbers == [number for number, (_, owner) in owners if owner != "nobody"]
    end = await read(store, after)
    assert (end.data, end.has_more, end.next_cursor) == ([], False, after)
    store.write(3)
    assert places((await read(store, after)).data) == [(3, len(store.journals[3].entries))]


async def test_a_cursor_gives_the_same_page_again() -> None:
    store = ListJournals(3)
    for partition in store.partitions:
        store.write(partition, 50)
    first = await read(store, limit=7)
    assert len(first.data) == 7
    for _ in range(3):
        assert await read(store, limit=7) == first
        assert await read(store, first.next_cursor, limit=9) == await read(store, first.next_cursor, limit=9)


@pytest.mark.parametrize(("limit", "pages_max"), [(1, 33), (20, 4)])
async def test_a_busy_partition_keeps_none_of_the_others_waiting(limit: int, pages_max: int) -> None:
    store = ListJournals(32)
    store.write(0, 200)
    for partition in store.partitions:
        store.write(partition)
    seen: set[int] = set()
    after: str | None = None
    for _ in range(pages_max):
        page = await read(store, after, limit=limit)
        store.write(0, 20)
        after = page.next_cursor
        seen |= {partition for partition, _ in places(page.data)}
    assert seen == set(store.partitions)


async def test_a_page_costs_a_bounded_number_of_entries_and_goes_on_where_it_stopped() -> None:
    store = ListJournals(4)
    for partition in store.partitions:
        store.write(partition, 1_500)
    store.write(2, kind="payment.failed")
    found: list[tuple[int, int]] = []
    after, count = None, 0
    while True:
        store.reads.clear()
        page = await read(store, after, types={"payment.failed"})
        assert sum(entries for _, entries in store.reads) <= pages.ROUNDS_MAX * pages.ENTRIES_PER_ROUND
        assert page.next_cursor != after
        found, after, count = found + places(page.data), page.next_cursor, count + 1
        if not page.has_more:
            break
    assert found == [(2, 1_501)]
    assert 2 <= count <= 3


async def test_an_idle_store_costs_a_look_at_each_end_and_no_reading() -> None:
    store = ListJournals(256)
    for partition in store.partitions:
        store.write(partition)
    after, seen = None, 0
    while True:
        page = await read(store, after, limit=100)
        seen, after = seen + len(page.data), page.next_cursor
        if not page.has_more:
            break
    assert seen == 256
    store.reads.clear()
    page = await read(store, after)
    assert (page.data, store.reads) == ([], [])


async def test_what_is_forgotten_is_passed_over() -> None:
    store = ListJournals(2)
    store.write(0, 30)
    store.write(1, 3)
    store.journals[0].forgotten.add("user-0")
    found: list[tuple[int, int]] = []
    after, has_more = None, True
    while has_more:
        page = await read(store, after, limit=4)
        found, after, has_more = found + places(page.data), page.next_cursor, page.has_more
    assert found == [(1, 1), (1, 2), (1, 3)]


async def test_entries_that_are_no_events_behind_the_last_one_make_no_further_page() -> None:
    store = ListJournals(1)
    store.write(0, 2)
    store.journals[0].write("nobody", "nobody")
    page = await read(store, limit=2)
    assert (places(page.data), page.has_more) == ([(0, 1), (0, 2)], False)


async def test_a_cursor_ahead_of_any_journal_is_unknown() -> None:
    store = ListJournals(3)
    for partition in store.partitions:
        store.write(partition, 2)
    assert not (await read(store, str(Cursor((Position(2, 0),) * 3)))).data
    for partition in store.partitions:
        positions = [Position(2, 0)] * 3
        positions[partition] = Position(2, 1)
        with pytest.raises(EventPositionUnknown):
            await read(store, str(Cursor(positions)))
