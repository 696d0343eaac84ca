"""Listeners that catch up from an old event: no event is lost or doubled, and no other listener is delayed."""

from random import Random
from typing import Any

import pytest
from support.fixtures.doubles import ManualClock
from support.fixtures.list_journal import Desk, ListJournal, feed_of, take

from technopay.engine import Subscription
from technopay.engine.events import feed as feeding
from technopay.engine.values import JournalBatch, Position


class SlowJournal(ListJournal):
    """A journal with slow reads."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.begins: list[str] = []

    async def read_journal(self, partition: int, after: Position, limit: int) -> JournalBatch:
        if limit > 1:
            self.begins.append(str(after))
        self.clock.now += 0.01
        return await super().read_journal(partition, after, limit)


def slow_desk(**changes: Any) -> tuple[Desk, SlowJournal]:
    desk = Desk(**changes)
    journal = SlowJournal(desk.clock)
    desk.journal = journal
    desk.feed = feed_of(journal, desk.clock, **changes)
    return desk, journal


async def test_for_a_user_who_has_nothing_the_past_is_not_read() -> None:
    desk, journal = slow_desk()
    journal.write(*["bob"] * 5_000)
    listener = await desk.listen("newcomer", after=0)
    assert listener.cursor == "evt_005000-0"
    journal.write("newcomer", "bob")

    await desk.read_all()

    assert journal.begins == ["5000-0"]
    assert await take(listener) == [5_001]


async def test_what_begins_while_somebody_asks_for_the_past_is_not_missed() -> None:
    desk, journal = slow_desk()
    journal.write("bob")

    async def look(user_id: str) -> bool:
        journal.write("newcomer")  # just after a read found no entry
        return False

    journal.has_records = look  # type: ignore[method-assign]
    listener = await desk.listen("newcomer", after=0)

    await desk.read_all()

    assert await take(listener) == [2]


async def test_to_catch_up_takes_a_quarter_of_the_time_however_many_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "BATCH", 10)
    desk, journal = slow_desk()
    journal.write(*["bob", "alice"] * 500)
    for place in range(0, 800, 100):
        await desk.listen(f"user-{place}", after=place)

    began_s = desk.clock.now
    for _ in range(20):
        assert await desk.feed.step()

    assert len(journal.begins) == 20, "one batch at a time"
    assert desk.clock.now - began_s == pytest.approx(4 * 20 * 0.01)


async def test_those_who_catch_up_take_turns_and_whoever_is_live_waits_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "BATCH", 10)
    desk, journal = slow_desk()
    journal.write(*["bob"] * 10_000)
    live = await desk.listen("alice")
    for place in (0, 1_000, 2_000):
        await desk.listen("bob", after=place)
    journal.write("alice")

    assert await desk.feed.step()
    assert await take(live) == [10_001]
    journal.begins.clear()
    for number in range(9):
        journal.write("alice")
        assert await desk.feed.step()
        assert await take(live) == [10_002 + number]
        # A listener restarts from the beginning again and again: the others still get their turns.
        again = await desk.listen("eve", after=0)
        await again.aclose()

    late = [begin for begin in journal.begins if int(begin.split("-")[0]) < 10_000]
    assert late == [f"{place}-0" for place in (1000, 2000, 10, 1010, 2010, 20, 1020, 2020, 30)]


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_listens_from_wherever_hears_each_event_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(feeding, "BATCH", 3)
    random = Random(seed)
    desk = Desk(events_waiting_max=4, listeners_per_user_max=100)
    users = ["alice", "bob", "carol"]
    heard: list[tuple[Subscription, int, list[int]]] = []
    for _ in range(120):
        match random.randrange(4):
            case 0:
                desk.journal.write(*random.choices([*users, "nobody"], k=random.randrange(6)))
            case 1:
                end = len(desk.journal.entries)
                after = random.choice([None, random.randrange(end + 1)])
                listener = await desk.listen(random.choice(users), after)
                heard.append((listener, end if after is None else after, []))
            case 2:
                await desk.feed.step()
            case _ if heard:
                listener, _, events = random.choice(heard)
                events += await take(listener, random.randint(0, listener.waiting))
    is_done = False
    while not is_done:
        is_done = not await desk.feed.step() and not any(listener.waiting for listener, *_ in heard)
        for listener, _, events in heard:
            events += await take(listener)

    for listener, after, events in heard:
        theirs = [
            number for number, (_, owner) in enumerate(desk.journal.entries, 1) if owner == listener.user_id
        ]
        assert events == [number for number in theirs if number > after]
