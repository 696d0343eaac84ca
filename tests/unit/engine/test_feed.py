"""The feed: everybody hears what is theirs, in order, without a gap and nothing twice, and holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from random import Random
from typing import Any

import pytest
from support.stand_ins import ManualClock, make_payment, settle

from technopay.engine import (
    EngineClosed,
    EngineSettings,
    Event,
    Invoice,
    Overloaded,
    Payment,
    RateLimited,
    StoreUnavailable,
    Subscription,
)
from technopay.engine import feed as feeding
from technopay.engine.feed import Feed, place_of
from technopay.engine.journal import Change, Stretch
from technopay.engine.models import from_ms

SECRET = "a secret for tests, and for tests alone"


class PaperJournal:
    """A journal on paper: entries 1-0, 2-0, …, each about a payment of somebody's."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.versions: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.reads = 0
        self.asked_for: list[set[str]] = []
        self.fault: Exception | None = None

    def write(self, *owners: str) -> None:
        """Write an entry for each, about the one payment that each has."""
        self.entries += [(f"{len(self.entries) + number}-0", owner) for number, owner in enumerate(owners, 1)]

    async def read_end(self) -> str:
        self._work()
        return self.entries[-1][0] if self.entries else "0-0"

    async def has_records(self, user_id: str) -> bool:
        self._work()
        return user_id != "newcomer"

    async def read_changes(self, after: str, count: int) -> Stretch:
        self._work()
        self.reads += 1
        found = [entry for entry in self.entries if place_of(entry[0]) > place_of(after)][:count]
        await asyncio.sleep(0)
        changes = [
            Change(entry_id, "payment.refused", f"pay_{owner}", from_ms(1), self._version(entry_id, owner))
            for entry_id, owner in found
            if owner != "nobody"
        ]
        return Stretch(changes, found[-1][0] if found else after, len(found) < count)

    async def read_owned(
        self, ids: Collection[str], user_ids: Collection[str]
    ) -> Mapping[str, Payment | Invoice]:
        self._work()
        self.asked_for.append(set(user_ids))
        await asyncio.sleep(0)
        return {
            payment_id: make_payment(id=payment_id, user_id=owner)
            for payment_id in ids
            if (owner := payment_id.removeprefix("pay_")) in user_ids and owner not in self.forgotten
        }

    def _version(self, entry_id: str, owner: str) -> int:
        return [entry for entry, whose in self.entries if whose == owner].index(entry_id) + 1

    def _work(self) -> None:
        if self.fault:
            raise self.fault


class Desk:
    """A feed that reads when it is told to."""

    def __init__(self, **changes: Any) -> None:
        self.journal = PaperJournal()
        self.clock = ManualClock()
        self.feed = Feed(self.journal, self.clock, EngineSettings(secret=SECRET, **changes))

    async def read_all(self) -> None:
        while await self.feed.step():
            pass

    async def listen(self, user_id: str = "alice", after: int | None = None) -> Subscription:
        return await self.feed.listen(user_id, None if after is None else f"evt_00{after}-0")


async def take(listener: Subscription, count: int | None = None) -> list[int]:
    """Take events that wait; answer which entries they are of."""
    count = listener.waiting if count is None else count
    assert count <= listener.waiting, "there is less to take"
    events: list[Event] = [await anext(listener) for _ in range(count)]
    return [int(event.id.removeprefix("evt_00").removesuffix("-0")) for event in events]


async def test_a_listener_hears_what_happens_from_now_on_and_only_what_is_the_users() -> None:
    desk = Desk()
    desk.journal.write("alice", "bob")
    alice, bob = await desk.listen("alice"), await desk.listen("bob")
    desk.journal.write("bob", "alice", "carol", "alice", "nobody")

    await desk.read_all()

    assert desk.journal.asked_for == [{"alice", "bob"}]
    events = [await anext(alice) for _ in range(alice.waiting)]
    assert [(event.id, event.version) for event in events] == [("evt_004-0", 2), ("evt_006-0", 3)]
    assert await take(bob) == [3]


async def test_without_a_listener_nothing_is_read() -> None:
    desk = Desk()
    desk.journal.write("alice")
    await desk.read_all()
    listener = await desk.listen(after=0)
    await listener.aclose()
    await desk.read_all()
    assert desk.journal.reads == 0


@pytest.mark.parametrize(("after", "heard"), [(0, [1, 2, 3]), (2, [3]), (3, []), (9, [])])
async def test_a_listener_goes_on_after_any_event(after: int, heard: list[int]) -> None:
    desk = Desk()
    desk.journal.write("alice", "alice", "alice")
    listener = await desk.listen(after=after)
    await desk.read_all()
    assert await take(listener) == heard


async def test_whoever_begins_in_the_future_hears_what_comes_then() -> None:
    desk = Desk()
    desk.journal.write("alice")
    listener, other = await desk.listen(after=3), await desk.listen(after=0)
    for _ in range(4):
        desk.journal.write("alice")
        await desk.read_all()
    assert await take(listener) == [4, 5]
    assert await take(other) == [1, 2, 3, 4, 5]


async def test_whoever_catches_up_joins_the_others_without_a_gap_and_hears_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 3)
    desk = Desk()
    desk.journal.write(*["alice"] * 10)
    live = await desk.listen()
    first, second = await desk.listen(after=0), await desk.listen(after=4)
    for _ in range(10):
        await desk.feed.step()
        desk.journal.write("alice")
    late = await desk.listen(after=7)
    await desk.read_all()

    for after, listener in {10: live, 0: first, 4: second, 7: late}.items():
        assert await take(listener) == list(range(after + 1, 21))


async def test_one_reading_serves_all_whose_places_it_passes() -> None:
    desk = Desk()
    desk.journal.write(*["alice", "bob"] * 5)
    listeners = [await desk.listen(user, after) for after in (0, 3, 9) for user in ("alice", "bob")]
    await desk.read_all()
    assert desk.journal.reads == 1
    assert [len(await take(listener)) for listener in listeners] == [5, 5, 3, 4, 0, 1]


async def test_who_catches_up_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 2)
    desk = Desk()
    desk.journal.write(*["bob"] * 100)
    await desk.listen("bob", after=0)
    live = await desk.listen("alice")
    desk.journal.write("alice")
    assert await desk.feed.step()
    assert await take(live) == [101]


async def test_what_has_no_room_waits_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 5)
    desk = Desk(events_waiting_max=4)
    desk.journal.write(*["alice"] * 12)
    slow, quick = await desk.listen(after=0), await desk.listen(after=0)
    heard: list[int] = []
    for _ in range(3):
        await desk.read_all()
        assert (slow.waiting, quick.waiting) == (4, 4)
        heard += await take(quick)
    assert heard == list(range(1, 13))

    heard = await take(slow, 1)
    reads = desk.journal.reads
    await desk.read_all()
    assert (slow.waiting, desk.journal.reads) == (3, reads + 1)  # for the quick one alone
    for _ in range(11):
        heard += await take(slow, 1)
        await desk.read_all()
    assert heard == list(range(1, 13))


async def test_who_takes_nothing_for_long_is_let_go_and_goes_on_after_the_last_event() -> None:
    desk = Desk(events_waiting_max=4, listeners_per_user_max=1, events_patience_s=30)
    desk.journal.write(*["alice"] * 6)
    slow = await desk.listen(after=0)
    await desk.read_all()
    desk.clock.pass_time(29)
    await desk.read_all()
    assert desk.feed.listeners == 1

    desk.clock.pass_time(2)
    await desk.read_all()

    assert desk.feed.listeners == 0
    assert [int(event.id[6:-2]) async for event in slow] == [1, 2, 3, 4]
    again = await desk.listen(after=4)
    await desk.read_all()
    assert await take(again) == [5, 6]


async def test_who_had_nothing_to_take_is_not_slow() -> None:
    desk = Desk(events_waiting_max=4)
    await desk.listen(after=0)
    desk.clock.pass_time(1_000)
    desk.journal.write(*["alice"] * 6)
    await desk.read_all()
    desk.clock.pass_time(1)
    await desk.read_all()
    assert desk.feed.listeners == 1


async def test_a_user_has_so_many_places_and_the_process_too() -> None:
    desk = Desk(listeners_per_user_max=2, listeners_max=3)
    first = await desk.listen()
    await desk.listen()
    with pytest.raises(RateLimited, match="As many listen to this user's events as may at a time"):
        await desk.listen()
    await desk.listen("bob")
    with pytest.raises(Overloaded):
        await desk.listen("carol")

    for _ in range(2):
        await first.aclose()
    await desk.listen()


async def test_who_cannot_begin_holds_no_place() -> None:
    desk = Desk(listeners_per_user_max=1)
    desk.journal.fault = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await desk.listen()
    desk.journal.fault = None
    await desk.listen()


async def test_a_fault_in_the_middle_costs_nobody_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 2)
    desk = Desk()
    desk.journal.write(*["alice"] * 5)
    listener = await desk.listen(after=0)
    await desk.feed.step()
    desk.journal.fault = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await desk.feed.step()
    desk.journal.fault = None
    await desk.read_all()
    assert await take(listener) == [1, 2, 3, 4, 5]


async def test_who_gives_up_waiting_loses_no_event() -> None:
    desk = Desk()
    listener = await desk.listen()
    desk.journal.write("alice")
    await desk.read_all()
    event = await anext(listener)

    waiting = asyncio.ensure_future(anext(listener))
    await settle()
    listener.put(event)
    waiting.cancel()  # in the moment in which there is something to take
    await settle()

    assert waiting.cancelled()
    assert await take(listener) == [1]


async def test_what_is_forgotten_is_not_told() -> None:
    desk = Desk()
    listener = await desk.listen(after=0)
    desk.journal.write("alice")
    desk.journal.forgotten.add("alice")
    await desk.read_all()
    assert listener.waiting == 0


async def test_the_end_lets_everybody_go_and_takes_nobody_new() -> None:
    desk = Desk()
    desk.feed.start()
    waits, has_some = await desk.listen("alice"), await desk.listen("bob", after=0)
    desk.journal.write("bob")
    await desk.read_all()
    waiting = asyncio.ensure_future(anext(waits, None))
    await settle()

    await desk.feed.stop(1)

    assert await waiting is None
    assert [event.id async for event in has_some] == ["evt_001-0"]
    assert desk.feed.listeners == 0
    with pytest.raises(EngineClosed):
        await desk.listen()


async def test_an_end_while_somebody_begins_takes_them_not(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    began = asyncio.Event()

    async def read_end() -> str:
        began.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "0-0"

    monkeypatch.setattr(desk.journal, "read_end", read_end)
    beginning = asyncio.ensure_future(desk.listen())
    await began.wait()
    await desk.feed.stop(1)
    with pytest.raises(EngineClosed):
        await beginning


class SlowJournal(PaperJournal):
    """A journal whose reading takes its time."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.begins: list[str] = []

    async def read_changes(self, after: str, count: int) -> Stretch:
        self.begins.append(after)
        self.clock.now += 0.01
        return await super().read_changes(after, count)


def slow_desk(**changes: Any) -> tuple[Desk, SlowJournal]:
    desk = Desk(**changes)
    journal = SlowJournal(desk.clock)
    desk.journal = journal
    desk.feed = Feed(journal, desk.clock, EngineSettings(secret=SECRET, **changes))
    return desk, journal


async def test_for_a_user_who_has_nothing_the_past_is_not_read() -> None:
    desk, journal = slow_desk()
    journal.write(*["bob"] * 5_000)
    listener = await desk.listen("newcomer", after=0)
    assert listener.begins_after == "evt_005000-0"
    journal.write("newcomer", "bob")

    await desk.read_all()

    assert journal.begins == ["5000-0"]
    assert await take(listener) == [5_001]


async def test_what_begins_while_somebody_asks_for_the_past_is_not_missed() -> None:
    desk, journal = slow_desk()
    journal.write("bob")

    async def look(user_id: str) -> bool:
        journal.write("newcomer")  # an instant after it was found out that there was nothing
        return False

    journal.has_records = look  # type: ignore[method-assign]
    listener = await desk.listen("newcomer", after=0)

    await desk.read_all()

    assert await take(listener) == [2]


async def test_to_catch_up_takes_a_quarter_of_the_time_however_many_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 10)
    desk, journal = slow_desk()
    journal.write(*["bob", "alice"] * 500)
    for place in range(0, 800, 100):
        await desk.listen(f"user-{place}", after=place)

    began_s = desk.clock.now
    for _ in range(20):
        assert await desk.feed.step()

    assert len(journal.begins) == 20, "one stretch at a time"
    assert desk.clock.now - began_s == pytest.approx(4 * 20 * 0.01)


async def test_those_who_catch_up_take_turns_and_whoever_is_live_waits_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 10)
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
        # Somebody comes again and again from the beginning: the others get their turns all the same.
        again = await desk.listen("eve", after=0)
        await again.aclose()

    late = [begin for begin in journal.begins if int(begin.split("-")[0]) < 10_000]
    assert late == [f"{place}-0" for place in (1000, 2000, 10, 1010, 2010, 20, 1020, 2020, 30)]


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_listens_from_wherever_hears_each_event_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(feeding, "STRETCH", 3)
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
