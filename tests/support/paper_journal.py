"""A journal on paper, and a feed that reads it when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

from support.stand_ins import ManualClock, make_payment

from technopay.engine import EngineSettings, Event, Subscription
from technopay.engine.commands import Command, HasRecords, ReadOwned
from technopay.engine.events.feed import Feed
from technopay.engine.ports import Outcome
from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import BEGINNING, JournalBatch, JournalEntry, Position

SECRET = "a secret for tests, and for tests alone"


class PaperJournal:
    """A journal on paper: entries 1-0, 2-0, …, each about a payment of somebody's.

    Of a store, it is what the feed needs. Entries about nobody are no events.
    """

    partitions = (0,)

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.forgotten: set[str] = set()
        self.unreadable = UnreadableRecords()
        self.reads = 0
        self.asked_for: list[set[str]] = []
        self.fault: Exception | None = None

    def write(self, *owners: str) -> None:
        """Write an entry for each, about the one payment that each has."""
        self.entries += [(f"{len(self.entries) + number}-0", owner) for number, owner in enumerate(owners, 1)]

    def partition_of(self, user_id: str) -> int:
        return 0

    async def read_end(self, partition: int) -> Position:
        self._work()
        return Position.of(self.entries[-1][0]) if self.entries else BEGINNING

    async def read_journal(self, partition: int, after: Position, limit: int) -> JournalBatch:
        self._work()
        self.reads += 1
        found = [entry for entry in self.entries if Position.of(entry[0]) > after][:limit]
        await asyncio.sleep(0)
        entries = [self._entry(entry_id, owner) for entry_id, owner in found]
        end = Position.of(found[-1][0]) if found else after
        return JournalBatch(entries, end, len(found) < limit)

    async def run(self, command: Command[Any]) -> Outcome[Any]:
        self._work()
        match command:
            case HasRecords():
                return Outcome("ok", await self.has_records(command.user_id))
            case ReadOwned():
                self.asked_for.append(set(command.user_ids))
                await asyncio.sleep(0)
                owners = {each: each.removeprefix("pay_") for each in command.record_ids}
                shown = set(command.user_ids) - self.forgotten
                return Outcome(
                    "ok",
                    {
                        payment_id: make_payment(id=payment_id, user_id=owner)
                        for payment_id, owner in owners.items()
                        if owner in shown
                    },
                )
        raise AssertionError(command)

    async def has_records(self, user_id: str) -> bool:
        return user_id != "newcomer"

    def _entry(self, entry_id: str, owner: str) -> JournalEntry:
        if owner == "nobody":
            return JournalEntry(entry_id, "limit.set", "EUR", {})
        version = [entry for entry, whose in self.entries if whose == owner].index(entry_id) + 1
        return JournalEntry(entry_id, "payment.refused", f"pay_{owner}", {"version": str(version)})

    def _work(self) -> None:
        if self.fault:
            raise self.fault


def feed_of(journal: Any, clock: ManualClock, **changes: Any) -> Feed:
    return Feed(journal, clock, EngineSettings(secret=SECRET, **changes))


class Desk:
    """A feed that reads when it is told to."""

    def __init__(self, **changes: Any) -> None:
        self.journal = PaperJournal()
        self.clock = ManualClock()
        self.feed = feed_of(self.journal, self.clock, **changes)

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
