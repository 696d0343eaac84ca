"""A journal on paper, and a feed that reads it when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from support.stand_ins import ManualClock, make_payment
from technopay.engine.feed import place_of
from technopay.engine.journal import Change, Stretch

from technopay.engine import EngineSettings, Event, Invoice, Payment, Subscription
from technopay.engine.events.feed import Feed
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
