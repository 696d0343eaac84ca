"""Pages of the events of all users, oldest first within each partition."""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

from technopay.engine.errors import EventPositionUnknown
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.subjects import read_event, read_subjects
from technopay.engine.models import Event, EventPage
from technopay.engine.ports import Store
from technopay.engine.reads import EVERYONE
from technopay.engine.values import Position

ROUNDS_MAX = 8
"""How often journals are read for one page; after that, it can be short while there is a next one."""
PARTITIONS_AT_A_TIME = 8
ENTRIES_PER_ROUND = 500


async def read_ends(store: Store, positions: Sequence[Position] | None = None) -> Sequence[Position]:
    """Return the position of the last entry of each partition.

    Raises:
        EventPositionUnknown: one of `positions` is ahead of its journal.

    """
    ends = await asyncio.gather(*map(store.read_end, store.partitions))
    if positions and any(position > end for position, end in zip(positions, ends, strict=True)):
        raise EventPositionUnknown
    return ends


async def read_page(store: Store, after: Cursor, types: Collection[str], limit: int) -> EventPage:
    """Read the next events of these types, of the partitions in turn.

    The page after this one begins with the partition whose turn it is, so none waits for a busy one.
    """
    positions, ends = list(after.positions), await read_ends(store, after.positions)
    turns = (*store.partitions[after.first :], *store.partitions[: after.first])
    behind = deque(each for each in turns if positions[each] < ends[each])
    events: list[Event] = []
    for _ in range(ROUNDS_MAX):
        room = limit - len(events)
        group = [behind.popleft() for _ in range(min(PARTITIONS_AT_A_TIME, room, len(behind)))]
        if not group:
            break
        parts = [
            _read_part(store, each, positions[each], types, room // len(group), ENTRIES_PER_ROUND // len(group))
            for each in group
        ]
        for partition, (found, end) in zip(group, await asyncio.gather(*parts), strict=True):
            events += found
            positions[partition] = end
            if end < ends[partition]:
                behind.append(partition)
    next_cursor = str(Cursor(positions, behind[0] if behind else after.first))
    return EventPage.trusted(data=events, has_more=bool(behind), next_cursor=next_cursor)


async def _read_part(
    store: Store, partition: int, after: Position, types: Collection[str], limit: int, entries: int
) -> tuple[Sequence[Event], Position]:
    """Read at most `limit` events, out of so many entries of a partition; return them and where they end."""
    batch = await store.read_journal(partition, after, entries)
    changes = [entry for entry in batch.entries if entry.type in types]
    tried = changes[: 2 * limit]  # some can be of deleted payments
    records = await read_subjects(store, partition, tried, EVERYONE)
    events: list[Event] = []
    for place, entry in enumerate(tried):
        record = records.get(entry.subject)
        if record is not None and (event := read_event(store, partition, entry, record)):
            events.append(event)
        if len(events) == limit:
            tried = tried[: place + 1]
            break
    # What the filter leaves out behind the last one is read, too.
    end = batch.end if len(tried) == len(changes) else Position.of(tried[-1].id)
    return events, end
