"""The feed: changes of payments and invoices, read from the journal once for all listeners."""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Self, cast

from technopay.engine.background import Loop
from technopay.engine.errors import EngineClosed, EventPositionUnknown, Overloaded, RateLimited
from technopay.engine.fields import EVENT_ID
from technopay.engine.models import (
    EVENT_TYPES,
    Event,
    Invoice,
    InvoiceEvent,
    InvoiceEventType,
    Payment,
    PaymentEvent,
    PaymentEventType,
    Wallet,
    WalletEvent,
    WalletEventType,
)
from technopay.engine.ports import Clock, Store
from technopay.engine.reads import HasRecords, ReadOwned
from technopay.engine.record import from_ms
from technopay.engine.settings import EngineSettings
from technopay.engine.values import JournalBatch, JournalEntry, Position

logger = logging.getLogger(__name__)

BATCH = 500
"""Entries of the journal that are read at a time."""
RECORDS_MAX = 50
"""Records that one script reads: it blocks all other scripts."""
PAUSE_S = 0.01
"""Between two reads at the end of the journal: entries of that time are read together."""

PAUSE_PER_READ = 3
"""The pause after a read for a late listener, in multiples of its duration: its backlog can be long."""
CATCH_UP_PAUSE_S_MAX = 0.2


class Subscription:
    """The events of one user, in order. Close it: the number per user is bounded.

    The iteration ends when the engine drains or the listener is too slow. Resume after the last event.
    """

    def __init__(self, feed: "Feed", user_id: str, after: Position | None, now_s: float) -> None:
        self.user_id = user_id
        self.position = after
        """The last position read for this listener; None until the first one is known."""
        self.begins_after = ""
        """The id after which the events come; a listener without an event yet resumes after it."""
        self.taken_at_s = now_s
        self.is_live = after is None
        """Whether it has reached the end of the journal; late listeners take turns."""
        self.turn = 0
        self._feed = feed
        self._waiting: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def aclose(self) -> None:
        """End the subscription and drop waiting events. Can be called more than once."""
        self._waiting.clear()
        self._feed.evict(self)

    def put(self, event: Event) -> None:
        self._waiting.append(event)
        self._changed.set()

    def end(self) -> None:
        """End the iteration after the waiting events."""
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
        # No await from here on: a cancelled wait loses no event.
        self._feed.note_taken(self)
        return self._waiting.popleft()


class Feed:
    """Follows the journal while there are listeners.

    Every listener has its own position in the journal; one reading serves all listeners whose positions it
    passes. Nothing is read for a listener with too many waiting events: they stay in the journal, not in
    memory.
    """

    def __init__(self, store: Store, clock: Clock, settings: EngineSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._listeners: set[Subscription] = set()
        self._loop = Loop("feed", self.step, settings.events_interval_s, clock)
        self._has_stopped = False
        self._turns = count(1)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        """Read the journal now, if there are listeners."""
        if self._listeners:
            self._loop.wake()

    async def stop(self, drain_s: float) -> None:
        """End all iterations."""
        self._has_stopped = True
        for listener in list(self._listeners):
            self.evict(listener)
        await self._loop.stop(drain_s)

    async def listen(self, user_id: str, after: str | None) -> Subscription:
        """Make a listener for a user's events from now on, or after an event, which need not exist.

        Raises:
            RateLimited: the user has as many listeners as allowed.
            EventPositionUnknown: the journal ends before that event.
            Overloaded: the process has.
            StoreUnavailable, OutcomeUnknown: the end of the journal cannot be read.

        """
        partition = self._store.partition_of(user_id)
        listener = self._admit(user_id, after)
        try:
            # In this order: the entries of a record that is created after the second read come after this end.
            end = await self._store.read_end(partition)
            if listener.position is not None and listener.position > end:
                raise EventPositionUnknown
            if listener.position is None or not (await self._store.run(HasRecords(user_id))).value:
                listener.position = end
        except BaseException:
            self.evict(listener)
            raise
        if self._has_stopped:
            raise EngineClosed
        listener.begins_after = _event_id(partition, str(listener.position))
        self._loop.wake()
        return listener

    def evict(self, listener: Subscription) -> None:
        """Remove a listener and end its iteration."""
        self._listeners.discard(listener)
        listener.end()

    def note_taken(self, listener: Subscription) -> None:
        """Note that a listener takes an event; with half of its events taken, read more."""
        listener.taken_at_s = self._clock.monotonic()
        if listener.waiting == self._settings.events_waiting_max // 2 + 1:
            self.wake()

    async def step(self) -> bool:
        """Read new entries for the live listeners, and a batch for one late listener.

        Late listeners take turns and share a part of the time.
        """
        self._evict_slow_listeners()
        live, late = self._ready()
        is_last, was_quiet = True, True
        while live:
            batch, served = await self._read(min(live, key=_position), live)
            live = [listener for listener in live if listener not in served]
            is_last, was_quiet = is_last and batch.is_last, was_quiet and not batch.entries
        if late:
            began_s = self._clock.monotonic()
            batch, served = await self._read(min(late, key=lambda listener: listener.turn), late)
            for listener in served:
                listener.is_live, listener.turn = batch.is_last, next(self._turns)
            if not batch.is_last or len(late) > len(served):
                spent_s = self._clock.monotonic() - began_s
                await self._clock.sleep(min(PAUSE_PER_READ * spent_s, CATCH_UP_PAUSE_S_MAX))
                return True
        if is_last and not was_quiet:
            await self._clock.sleep(PAUSE_S)
        return not is_last

    async def _read(
        self, first: Subscription, listeners: Collection[Subscription]
    ) -> tuple[JournalBatch, set[Subscription]]:
        """Read a batch for a listener, and for the others whose positions it passes."""
        start, partition = _position(first), self._store.partition_of(first.user_id)
        batch = await self._store.read_journal(partition, start, BATCH)
        served = {
            each
            for each in listeners
            if start <= _position(each)
            and (batch.is_last or _position(each) < batch.end)
            and self._store.partition_of(each.user_id) == partition
        }
        changes = [entry for entry in batch.entries if entry.type in EVENT_TYPES]
        await self._deliver_batch(partition, changes, batch.end, served)
        return batch._replace(entries=changes), served

    def _admit(self, user_id: str, after: str | None) -> Subscription:
        if self._has_stopped:
            raise EngineClosed
        if len(self._listeners) >= self._settings.listeners_max:
            raise Overloaded("This process has as many listeners as allowed. Nothing happened; try again.")
        if sum(one.user_id == user_id for one in self._listeners) >= self._settings.listeners_per_user_max:
            raise RateLimited(too_many="listeners", retry_after_s=1.0)
        seen = EVENT_ID.fullmatch(after or "")
        position = Position.of(seen[2]) if seen else None
        listener = Subscription(self, user_id, position, self._clock.monotonic())
        listener.turn = next(self._turns)
        self._listeners.add(listener)
        return listener

    def _ready(self) -> tuple[list[Subscription], list[Subscription]]:
        """Return the live and the late listeners with room. A listener without room is late from now on."""
        room = self._settings.events_waiting_max // 2
        ready: tuple[list[Subscription], list[Subscription]] = ([], [])
        for listener in self._listeners:
            if listener.position is None:
                continue
            if listener.waiting <= room:
                ready[not listener.is_live].append(listener)
            else:
                listener.is_live = False
        return ready

    async def _deliver_batch(
        self, partition: int, changes: Sequence[JournalEntry], end: Position, served: Collection[Subscription]
    ) -> None:
        """Pass the events of a batch to listeners, each from its own position on."""
        by_user: dict[str, list[Subscription]] = {}
        for listener in served:
            by_user.setdefault(listener.user_id, []).append(listener)
        records = await self._read_owned(partition, [entry.subject for entry in changes], list(by_user))
        full: set[Subscription] = set()
        for entry in changes:
            # A payment that never took money is deleted after a while: its entries are no events any more.
            record = records.get(entry.subject)
            if record is None:
                continue
            try:
                event, position = _event_of(partition, entry, record), Position.of(entry.id)
            except (ArithmeticError, LookupError, ValueError) as error:
                self._store.unreadable.note("entry", entry.id, error)
                continue
            full.update(one for one in by_user[record.user_id] if not self._deliver(one, position, event))
        for listener in served:
            if listener not in full and listener.position is not None:
                listener.position = max(listener.position, end)

    async def _read_owned(
        self, partition: int, record_ids: Sequence[str], user_ids: Sequence[str]
    ) -> Mapping[str, Payment | Invoice | Wallet]:
        """Read the records among these that belong to one of these users."""
        ids = list(dict.fromkeys(record_ids))
        found: dict[str, Payment | Invoice | Wallet] = {}
        for first in range(0, len(ids), RECORDS_MAX):
            outcome = await self._store.run(ReadOwned(partition, user_ids, ids[first : first + RECORDS_MAX]))
            found.update(outcome.value or {})
        return found

    def _deliver(self, listener: Subscription, position: Position, event: Event) -> bool:
        """Pass a listener an event that it does not have yet; return False if it has no room."""
        if listener.position is None or position <= listener.position:
            return True
        if listener.waiting >= self._settings.events_waiting_max:
            return False
        if not listener.waiting:
            listener.taken_at_s = self._clock.monotonic()  # no event waited before
        listener.put(event)
        listener.position = position
        return True

    def _evict_slow_listeners(self) -> None:
        now_s = self._clock.monotonic()
        room = self._settings.events_waiting_max // 2
        for listener in list(self._listeners):
            if listener.waiting > room and now_s - listener.taken_at_s > self._settings.events_patience_s:
                logger.info(
                    "a listener that took no event for %g s is disconnected", self._settings.events_patience_s
                )
                self.evict(listener)


def _position(listener: Subscription) -> Position:
    assert listener.position is not None, "the journal is read only after the first position is known"
    return listener.position


def _event_id(partition: int, entry_id: str) -> str:
    return f"evt_{partition:02x}{entry_id}"


def _event_of(partition: int, entry: JournalEntry, record: Payment | Invoice | Wallet) -> Event:
    name, at = _event_id(partition, entry.id), from_ms(entry.at_ms)
    if isinstance(record, Payment):
        kind = cast("PaymentEventType", entry.type)
        return PaymentEvent.trusted(id=name, type=kind, at=at, version=entry.version, payment=record)
    if isinstance(record, Wallet):
        wallet_kind = cast("WalletEventType", entry.type)
        return WalletEvent.trusted(id=name, type=wallet_kind, at=at, version=entry.version, wallet=record)
    invoice_kind = cast("InvoiceEventType", entry.type)
    return InvoiceEvent.trusted(id=name, type=invoice_kind, at=at, version=entry.version, invoice=record)
