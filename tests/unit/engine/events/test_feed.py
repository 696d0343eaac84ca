"""The feed: each listener gets its events in order, without a gap, each once, and delays no other."""

import asyncio

import pytest
from support.fixtures.doubles import settle
from support.fixtures.list_journal import Desk, take

from technopay.engine import (
    EngineClosed,
    EventPositionUnknown,
    Overloaded,
    RateLimited,
    StoreUnavailable,
)
from technopay.engine.events import feed as feeding
from technopay.engine.values import BEGINNING, Position


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


@pytest.mark.parametrize(("after", "heard"), [(0, [1, 2, 3]), (2, [3]), (3, [])])
async def test_a_listener_goes_on_after_any_event(after: int, heard: list[int]) -> None:
    desk = Desk()
    desk.journal.write("alice", "alice", "alice")
    listener = await desk.listen(after=after)
    await desk.read_all()
    assert await take(listener) == heard


async def test_a_position_behind_the_end_of_the_journal_is_refused_and_takes_no_room() -> None:
    desk = Desk()
    desk.journal.write("alice")
    for _ in range(9):
        with pytest.raises(EventPositionUnknown, match="the store lost it"):
            await desk.listen(after=2)
    listener = await desk.listen(after=1)
    desk.journal.write("alice")
    await desk.read_all()
    assert await take(listener) == [2]


async def test_one_reading_serves_all_whose_positions_it_passes() -> None:
    desk = Desk()
    desk.journal.write(*["alice", "bob"] * 5)
    listeners = [await desk.listen(user, after) for after in (0, 3, 9) for user in ("alice", "bob")]
    await desk.read_all()
    assert desk.journal.reads == 1
    assert [len(await take(listener)) for listener in listeners] == [5, 5, 3, 4, 0, 1]


async def test_what_has_no_room_waits_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "BATCH", 5)
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
    with pytest.raises(RateLimited, match="This user has as many event listeners as allowed"):
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
    monkeypatch.setattr(feeding, "BATCH", 2)
    desk = Desk()
    desk.journal.write(*["alice"] * 5)
    listener = await desk.listen(after=0)
    await desk.feed.step()
    desk.journal.fault = StoreUnavailable()
    for _ in range(3):
        assert await desk.feed.step()
    assert desk.clock.slept[-3:] == [0.2] * 3, "it does not read again and again at once"
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
    listener.put(event, listener.places[0], Position(1, 0))
    waiting.cancel()  # at the moment at which an event is available
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

    async def read_end(partition: int) -> Position:
        began.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return BEGINNING

    monkeypatch.setattr(desk.journal, "read_end", read_end)
    beginning = asyncio.ensure_future(desk.listen())
    await began.wait()
    await desk.feed.stop(1)
    with pytest.raises(EngineClosed):
        await beginning
