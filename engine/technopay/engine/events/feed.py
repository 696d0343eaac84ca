"""The feed: changes of payments and invoices, read from the journal once for all listeners."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import NamedTuple

from technopay.engine.background import Loop, PartitionTasks
from technopay.engine.errors import (
    ArchiveUnavailable,
    EngineClosed,
    EventPositionUnknown,
    Overloaded,
    RateLimited,
)
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.pages import read_ends
from technopay.engine.events.subjects import IS_EVENT, read_event, read_subjects
from technopay.engine.events.subscription import Place, Subscription
from technopay.engine.fields import EVENT_ID
from technopay.engine.models import Event
from technopay.engine.polling import IDLE_POLLS_PER_S_MAX, NEVER_S, Polls
from technopay.engine.ports import Clock, Store
from technopay.engine.reads import EVERYONE, HasRecords
from technopay.engine.settings import EngineSettings
from technopay.engine.values import JournalBatch, JournalEntry, Position

logger = logging.getLogger(__name__)

BATCH = 500
"""Entries of the journal that are read at a time."""
PAUSE_S = 0.01
"""Between two reads at the end of the journal: entries of that time are read together."""

PAUSE_PER_READ = 3
"""The pause after a read for a late listener, in multiples of its duration: its backlog can be long."""
CATCH_UP_PAUSE_S_MAX = 0.2


class Reading(NamedTuple):
    """A batch that was read, the places that it served, and those of them whose listeners had no room."""

    batch: JournalBatch
    served: set[Place]
    full: set[Place]


class Feed:
    """Follows the journals while there are listeners.

    Every listener has its own position in the journal of its user's partition, a listener to all users in each
    journal; one reading serves all places that it passes. Nothing is read for a listener with too many waiting
    events: they stay in the journal, not in memory.
    """

    def __init__(self, store: Store, clock: Clock, settings: EngineSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._room = settings.events_waiting_max // 2
        """Nothing is read for a listener with more waiting events."""
        self._subscriptions: set[Subscription] = set()
        self._places: defaultdict[int, set[Place]] = defaultdict(set)
        self._late: set[Place] = set()
        """The places that have not reached the end of the journal; they take turns."""
        interval_s = settings.events_interval_s
        self._polls = Polls("feed", self._read_live, store, self, clock, interval_s)
        self._catching_up = PartitionTasks("feed", self._read_late)
        self._loop = Loop("feed", self.step, interval_s, clock, pause_s=PAUSE_S)
        self._has_stopped = False
        self._turns = count(1)

    @property
    def listeners(self) -> int:
        return len(self._subscriptions)

    def start(self) -> None:
        self._loop.start()

    def wake(self, partition: int) -> None:
        """Read the journal of a partition now, if it has listeners."""
        if self._places.get(partition):
            self._polls.note_due(partition)
            self._loop.wake()

    async def stop(self, drain_s: float) -> None:
        """End all iterations."""
        self._has_stopped = True
        for subscription in list(self._subscriptions):
            self.evict(subscription)
        await self._loop.stop(drain_s)
        await self._polls.stop(drain_s)
        await self._catching_up.stop(drain_s)

    async def listen(self, user_id: str, after: str | None) -> Subscription:
        """Make a listener for a user's events from now on, or after an event, which need not exist.

        Raises:
            RateLimited: the user has as many listeners as allowed.
            EventPositionUnknown: the journal ends before that event.
            Overloaded: the process has.
            ArchiveUnavailable: what follows that event is only there.
            StoreUnavailable, OutcomeUnknown: the end of the journal cannot be read.

        """
        partition = self._store.partition_of(user_id)
        seen = EVENT_ID.fullmatch(after or "")
        position = Position.of(seen[2]) if seen else None
        subscription = self._admit(user_id, IS_EVENT, [partition])
        try:
            # In this order: the entries of a record that is created after the second read come after this end.
            end = await self._store.read_end(partition)
            if position is not None and position > end:
                raise EventPositionUnknown
            if position is None or not (await self._store.run(HasRecords(user_id))).value:
                position = end
            await self._require_history([partition], [position], [end])
        except BaseException:
            self.evict(subscription)
            raise
        self._begin(subscription, [position], [] if after is None else subscription.places)
        return subscription

    async def listen_to_all(self, after: Cursor | None, types: Collection[str]) -> Subscription:
        """Make a listener for the events of all users of these types, from now on or after a cursor.

        Raises:
            EventPositionUnknown: a journal ends before the cursor.
            Overloaded: the process has as many of these listeners as allowed.
            ArchiveUnavailable: what follows the cursor is only there.
            StoreUnavailable, OutcomeUnknown: the end of a journal cannot be read.

        """
        subscription = self._admit(None, types, self._store.partitions)
        try:
            ends = await read_ends(self._store, after and after.positions)
            begins = after.positions if after else ends
            await self._require_history(self._store.partitions, begins, ends)
        except BaseException:
            self.evict(subscription)
            raise
        behind = [place for place in subscription.places if begins[place.partition] < ends[place.partition]]
        self._begin(subscription, begins, behind)
        return subscription

    async def _require_history(
        self, partitions: Sequence[int], begins: Sequence[Position], ends: Sequence[Position]
    ) -> None:
        """Read what follows the positions before the ends, or raise: a response cannot change once it began."""
        behind = zip(partitions, begins, ends, strict=True)
        reads = [self._store.read_journal(each, begin, 1) for each, begin, end in behind if begin < end]
        await asyncio.gather(*reads)

    def evict(self, subscription: Subscription) -> None:
        """Remove a listener and end its iteration."""
        self._subscriptions.discard(subscription)
        for place in subscription.places:
            self._places[place.partition].discard(place)
            self._late.discard(place)
        subscription.end()

    def note_taken(self, subscription: Subscription) -> None:
        """Note that a listener takes an event; with half of its events taken, read more."""
        subscription.taken_at_s = self._clock.monotonic()
        if subscription.waiting == self._room + 1:
            self._loop.wake()

    def poll_interval_s(self, partition: int, interval_s: float) -> float:
        """Return the interval of reads for changes by other processes.

        A listener to all users makes few of many partitions: it would poll hundreds of idle ones.
        """
        places = self._places.get(partition)
        if not places:
            return NEVER_S
        if any(place.subscription.user_id is not None for place in places):
            return interval_s
        return max(interval_s, len(self._store.partitions) / IDLE_POLLS_PER_S_MAX)

    async def step(self) -> bool:
        """Read new entries of the journals that are due for live listeners, and a batch for one late listener.

        Late listeners take turns and share a part of the time.
        """
        self._evict_slow_listeners()
        read = await self._polls.run()
        with_more = [partition for partition, has_more in read.items() if has_more]
        for partition in with_more:
            self._polls.note_due(partition)
        return await self._catch_up() or bool(with_more)

    async def _read_live(self, partition: int) -> bool:
        """Read new entries of a partition; return whether there may be more."""
        live = self._places[partition] - self._late
        # A listener without room is late from now on.
        self._late |= {place for place in live if not self._has_room(place)}
        live = {place for place in live - self._late if place.position is not None}
        has_more = found = False
        while live:
            reading = await self._read_or_evict(partition, min(live, key=_position), live)
            if reading is None:
                live &= self._places[partition]
                continue
            live -= reading.served
            self._late |= reading.full & self._places[partition]
            has_more |= not reading.batch.is_last
            found |= bool(reading.batch.entries)
        if found:
            # Of a journal with news more is expected, also where it would be polled rarely.
            self._polls.note_due(partition, self._settings.events_interval_s)
        return has_more

    async def _catch_up(self) -> bool:
        """Read a batch for the late listener whose turn it is; return whether there are others."""
        began_s = self._clock.monotonic()
        late = self._late_and_ready()
        partitions = [min(late, key=_turn).partition] if late else []
        # The live listeners wait only shortly for an archive that is slow.
        read = await self._catching_up.run(partitions)
        has_failed = any(each not in read and not self._catching_up.is_running(each) for each in partitions)
        if not partitions or not self._late_and_ready():
            return False
        spent_s = self._clock.monotonic() - began_s
        pause_s = CATCH_UP_PAUSE_S_MAX if has_failed else PAUSE_PER_READ * spent_s
        await self._clock.sleep(min(pause_s, CATCH_UP_PAUSE_S_MAX))
        return True

    async def _read_late(self, partition: int) -> None:
        """Read a batch for the late listener of a partition whose turn it is."""
        late = {place for place in self._late if place.partition == partition and self._has_room(place)}
        if not late:
            return  # it left
        first = min(late, key=_turn)
        first.turn = next(self._turns)  # also if the read fails
        reading = await self._read_or_evict(partition, first, late)
        if reading is None:
            return
        for place in reading.served:
            place.turn = next(self._turns)
        if reading.batch.is_last:
            self._late -= reading.served - reading.full
            self._polls.note_due(partition)  # for what came meanwhile

    async def _read_or_evict(self, partition: int, first: Place, places: Collection[Place]) -> Reading | None:
        """Read a batch for places; if it is only in the archive, which is away, evict the first one.

        Its listener comes again, and is refused until the archive is back. The other places are read later.
        """
        try:
            return await self._read(partition, first, places)
        except ArchiveUnavailable as fault:
            logger.info("a listener to events of the past is disconnected: %s", fault)
            self.evict(first.subscription)
            return None

    async def _read(self, partition: int, first: Place, places: Collection[Place]) -> Reading:
        """Read a batch for a place, and for the others that it passes."""
        start, listener = _position(first), first.subscription
        limit = BATCH
        if listener.user_id is None and listener.types is IS_EVENT:
            limit = min(BATCH, self._settings.events_waiting_max - listener.waiting)  # all are for it
        batch = await self._store.read_journal(partition, start, limit)
        served = {
            each
            for each in places
            if start <= _position(each) and (batch.is_last or _position(each) < batch.end)
        }
        full = await self._deliver_batch(partition, batch.entries, served)
        for place in served - full:
            place.pass_over(batch.end)
        return Reading(batch, served, full)

    def _admit(self, user_id: str | None, types: Collection[str], partitions: Sequence[int]) -> Subscription:
        if self._has_stopped:
            raise EngineClosed
        same = sum(one.user_id == user_id for one in self._subscriptions)
        is_full = user_id is None and same >= self._settings.operator_listeners_max
        if is_full or len(self._subscriptions) >= self._settings.listeners_max:
            raise Overloaded("This process has as many listeners as allowed. Nothing happened; try again.")
        if user_id is not None and same >= self._settings.listeners_per_user_max:
            raise RateLimited(too_many="listeners", retry_after_s=1.0)
        subscription = Subscription(user_id, types, partitions, self.note_taken, self.evict)
        subscription.taken_at_s = self._clock.monotonic()
        self._subscriptions.add(subscription)
        return subscription

    def _begin(
        self, subscription: Subscription, positions: Sequence[Position], behind: Collection[Place]
    ) -> None:
        """Begin to read for a listener from these positions on; the places behind the ends are late."""
        if self._has_stopped:
            raise EngineClosed
        for place, position in zip(subscription.places, positions, strict=True):
            place.begin(position)
            place.turn = next(self._turns)
            self._places[place.partition].add(place)
            self._polls.note_due(place.partition)
        self._late.update(behind)
        self._loop.wake()

    def _has_room(self, place: Place) -> bool:
        return place.subscription.waiting <= self._room

    def _late_and_ready(self) -> Sequence[Place]:
        """Return the late places with room whose partition is not being read for one."""
        is_running = self._catching_up.is_running
        return [place for place in self._late if self._has_room(place) and not is_running(place.partition)]

    async def _deliver_batch(
        self, partition: int, entries: Iterable[JournalEntry], served: Collection[Place]
    ) -> set[Place]:
        """Pass the events of a batch to listeners, each from its own position on; return those without room."""
        by_user: dict[str | None, list[Place]] = {}
        for place in served:
            by_user.setdefault(place.subscription.user_id, []).append(place)
        types = {name for place in served for name in place.subscription.types}
        changes = [entry for entry in entries if entry.type in types]
        user_ids = EVERYONE if None in by_user else [each for each in by_user if each is not None]
        records = await read_subjects(self._store, partition, changes, user_ids)
        full: set[Place] = set()
        for entry in changes:
            record = records.get(entry.subject)
            event = read_event(self._store, partition, entry, record) if record else None
            if record is None or event is None:
                continue
            position = Position.of(entry.id)
            listeners = [*by_user.get(record.user_id, ()), *by_user.get(None, ())]
            full.update(one for one in listeners if not self._deliver(one, position, event))
        return full

    def _deliver(self, place: Place, position: Position, event: Event) -> bool:
        """Pass a listener an event that it wants and does not have yet; return False if it has no room."""
        listener = place.subscription
        if position <= _position(place) or event.type not in listener.types:
            return True
        if listener.waiting >= self._settings.events_waiting_max:
            return False
        if not listener.waiting:
            listener.taken_at_s = self._clock.monotonic()  # no event waited before
        listener.put(event, place, position)
        place.position = position
        return True

    def _evict_slow_listeners(self) -> None:
        now_s = self._clock.monotonic()
        for listener in list(self._subscriptions):
            if listener.waiting > self._room and now_s - listener.taken_at_s > self._settings.events_patience_s:
                logger.info(
                    "a listener that took no event for %g s is disconnected", self._settings.events_patience_s
                )
                self.evict(listener)


def _position(place: Place) -> Position:
    assert place.position is not None, "the journal is read only after the first position is known"
    return place.position


def _turn(place: Place) -> int:
    return place.turn
