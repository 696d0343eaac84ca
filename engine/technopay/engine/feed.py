"""The feed: what happens to payments and invoices, read from the journal once for all who listen."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Mapping
from itertools import count
from types import TracebackType
from typing import Self, cast

from technopay.engine.agenda import Loop
from technopay.engine.errors import EngineClosed, Overloaded, RateLimited
from technopay.engine.fields import EVENT_ID
from technopay.engine.journal import Change, Journal, Stretch
from technopay.engine.models import (
    Event,
    Invoice,
    InvoiceEvent,
    InvoiceEventType,
    Payment,
    PaymentEvent,
    PaymentEventType,
)
from technopay.engine.ports import Clock
from technopay.engine.relay import event_id
from technopay.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

STRETCH = 500
"""Entries of the journal that are read at a time."""
PAUSE_S = 0.01
"""Between two looks at the end of the journal: what comes meanwhile is read together."""

PAUSE_PER_READ = 3
"""After a reading for a listener who catches up, in the time that it took: any past can be asked for."""
CATCH_UP_PAUSE_S_MAX = 0.2

Place = tuple[int, int]
"""A place in the journal, as it can be compared."""


class Subscription:
    """The events of one user, in their order. Iterate over it, and close it: it holds a place.

    The iteration ends when the engine drains or when this listener was too slow; go on after the last event.
    """

    def __init__(self, feed: Feed, user_id: str, after: Place | None, now_s: float) -> None:
        self.user_id = user_id
        self.place = after
        """Up to here the journal was read for this listener; None until it is known where to begin."""
        self.begins_after = ""
        """The id after which the events come: who has not got one yet goes on after it, too."""
        self.taken_at_s = now_s
        self.is_live = after is None
        """Whether the end of the journal was reached; until then, it takes turns with others."""
        self.turn = 0
        self._feed = feed
        self._waiting: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._waiting)

    async def aclose(self) -> None:
        """Give the place up. What waits is forgotten. Can be called more than once."""
        self._waiting.clear()
        self._feed.let_go(self)

    def put(self, event: Event) -> None:
        """Let an event wait to be taken."""
        self._waiting.append(event)
        self._changed.set()

    def end(self) -> None:
        """End the iteration after what waits."""
        self._has_ended = True
        self._changed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._has_ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        # Nothing is awaited from here on: who gives up waiting loses no event.
        self._feed.note_taking(self)
        return self._waiting.popleft()


class Feed:
    """Follows the journal while somebody listens.

    Every listener has a place of its own in the journal; one reading serves all whose places it passes. One who
    does not take what waits is not read for: the rest waits in the journal, not in memory.
    """

    def __init__(self, journal: Journal, clock: Clock, settings: EngineSettings) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._listeners: set[Subscription] = set()
        self._loop = Loop("feed", self.step, settings.events_interval_s, clock)
        self._has_stopped = False
        self._turns = count(1)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def wake(self) -> None:
        """Look at the journal now, if somebody listens."""
        if self._listeners:
            self._loop.wake()

    async def stop(self, drain_s: float) -> None:
        """Let everybody go."""
        self._has_stopped = True
        for listener in list(self._listeners):
            self.let_go(listener)
        await self._loop.stop(drain_s)

    async def listen(self, user_id: str, after: str | None) -> Subscription:
        """Make a listener for a user's events from now on, or after an event, which need not exist.

        Raises:
            RateLimited: the user has as many listeners as may be.
            Overloaded: the process has.
            StoreUnavailable, OutcomeUnknown: it cannot be found out what is now.

        """
        listener = self._admit(user_id, after)
        try:
            # In this order: what begins after that has its entries after this end.
            end = place_of(await self._journal.read_end())
            if listener.place is None or not await self._journal.has_records(user_id):
                listener.place = end
        except BaseException:
            self.let_go(listener)
            raise
        if self._has_stopped:
            raise EngineClosed
        listener.begins_after = event_id(f"{listener.place[0]}-{listener.place[1]}")
        self._loop.wake()
        return listener

    def let_go(self, listener: Subscription) -> None:
        """Give a listener's place up and end its iteration."""
        self._listeners.discard(listener)
        listener.end()

    def note_taking(self, listener: Subscription) -> None:
        """Note that a listener takes an event; with half of them taken, there is room for more."""
        listener.taken_at_s = self._clock.monotonic()
        if listener.waiting == self._settings.events_waiting_max // 2 + 1:
            self.wake()

    async def step(self) -> bool:
        """Read what came for the live listeners, and a stretch for one who catches up; answer if there is more.

        Those who catch up take turns, and share a part of the time, however many they are.
        """
        self._let_slow_ones_go()
        live, late = self._ready()
        is_last, was_quiet = True, True
        while live:
            stretch, riders = await self._read(min(live, key=_place), live)
            live = [listener for listener in live if listener not in riders]
            is_last, was_quiet = is_last and stretch.is_last, was_quiet and not stretch.changes
        if late:
            began_s = self._clock.monotonic()
            stretch, riders = await self._read(min(late, key=lambda listener: listener.turn), late)
            for listener in riders:
                listener.is_live, listener.turn = stretch.is_last, next(self._turns)
            if not stretch.is_last or len(late) > len(riders):
                spent_s = self._clock.monotonic() - began_s
                await self._clock.sleep(min(PAUSE_PER_READ * spent_s, CATCH_UP_PAUSE_S_MAX))
                return True
        if is_last and not was_quiet:
            await self._clock.sleep(PAUSE_S)
        return not is_last

    async def _read(
        self, first: Subscription, listeners: Collection[Subscription]
    ) -> tuple[Stretch, set[Subscription]]:
        """Read a stretch for a listener, and for those on its way."""
        start = _place(first)
        stretch = await self._journal.read_changes(f"{start[0]}-{start[1]}", STRETCH)
        end = place_of(stretch.end)
        riders = {
            each for each in listeners if start <= _place(each) and (stretch.is_last or _place(each) < end)
        }
        await self._carry(stretch, end, riders)
        return stretch, riders

    def _admit(self, user_id: str, after: str | None) -> Subscription:
        if self._has_stopped:
            raise EngineClosed
        if len(self._listeners) >= self._settings.listeners_max:
            raise Overloaded("As many listen as may. Nothing happened; try again.")
        if sum(one.user_id == user_id for one in self._listeners) >= self._settings.listeners_per_user_max:
            raise RateLimited(too_many="listeners", retry_after_s=1.0)
        seen = EVENT_ID.fullmatch(after or "")
        place = (int(seen[1]), int(seen[2])) if seen else None
        listener = Subscription(self, user_id, place, self._clock.monotonic())
        listener.turn = next(self._turns)
        self._listeners.add(listener)
        return listener

    def _ready(self) -> tuple[list[Subscription], list[Subscription]]:
        """Return the listeners with room: the live ones, and those that catch up. The others catch up later."""
        room = self._settings.events_waiting_max // 2
        ready: tuple[list[Subscription], list[Subscription]] = ([], [])
        for listener in self._listeners:
            if listener.place is None:
                continue
            if listener.waiting <= room:
                ready[not listener.is_live].append(listener)
            else:
                listener.is_live = False
        return ready

    async def _carry(self, stretch: Stretch, end: Place, riders: Collection[Subscription]) -> None:
        """Tell these listeners of a stretch, each from its own place on."""
        by_user: dict[str, list[Subscription]] = {}
        for listener in riders:
            by_user.setdefault(listener.user_id, []).append(listener)
        ids = dict.fromkeys(change.subject for change in stretch.changes)
        records: Mapping[str, Payment | Invoice] = {}
        if ids:
            records = await self._journal.read_owned(ids, by_user)
        full: set[Subscription] = set()
        for change in stretch.changes:
            # A payment that never took money is forgotten after a while, and all that happened to it.
            record = records.get(change.subject)
            if record is not None:
                event, place = event_of(change, record), place_of(change.entry_id)
                full.update(one for one in by_user[record.user_id] if not self._tell(one, place, event))
        for listener in riders:
            if listener not in full and listener.place is not None:
                listener.place = max(listener.place, end)

    def _tell(self, listener: Subscription, place: Place, event: Event) -> bool:
        """Let a listener have an event that it does not have yet; False when it has no room for it."""
        if listener.place is None or place <= listener.place:
            return True
        if listener.waiting >= self._settings.events_waiting_max:
            return False
        if not listener.waiting:
            listener.taken_at_s = self._clock.monotonic()  # there was nothing to take before
        listener.put(event)
        listener.place = place
        return True

    def _let_slow_ones_go(self) -> None:
        now_s = self._clock.monotonic()
        room = self._settings.events_waiting_max // 2
        for listener in list(self._listeners):
            if listener.waiting > room and now_s - listener.taken_at_s > self._settings.events_patience_s:
                logger.info("a listener took nothing for %g s", self._settings.events_patience_s)
                self.let_go(listener)


def _place(listener: Subscription) -> Place:
    assert listener.place is not None, "it is not read for before"
    return listener.place


def place_of(entry_id: str) -> Place:
    """Turn an entry's id into its place."""
    at, _, number = entry_id.partition("-")
    return int(at), int(number)


def event_of(change: Change, record: Payment | Invoice) -> Event:
    """Make an event of a change and of what changed."""
    name = event_id(change.entry_id)
    if isinstance(record, Payment):
        kind = cast("PaymentEventType", change.type)
        return PaymentEvent.trusted(id=name, type=kind, at=change.at, version=change.version, payment=record)
    invoice_kind = cast("InvoiceEventType", change.type)
    return InvoiceEvent.trusted(
        id=name, type=invoice_kind, at=change.at, version=change.version, invoice=record
    )
