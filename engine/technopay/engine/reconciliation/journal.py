"""Parts of the journal by time: which payments and refunds began or ended then.

The id of an entry is never before its time, and later by at most the store's clock step. So a part begins at
the id of its begin, and ends at that of its end and this step.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import NamedTuple

from technopay.engine.errors import FieldError, ValidationFailed
from technopay.engine.ports import Store
from technopay.engine.system import time_in
from technopay.engine.values import JournalEntry, Position

ENTRIES = 500
"""Entries that are read at a time; other work of the loop runs between."""
MARGIN_MS = 60_000
"""By which the clocks of engines and of the store may differ."""
NUMBER_MAX = 10**18 - 1
"""Of an entry within its millisecond."""
ALWAYS_MS = 10**15


class Window(NamedTuple):
    """A part of the journal, in which so many refunds of a file began."""

    begin_ms: int
    end_ms: int
    refunds: int


class JournalReader:
    """Reads parts of the journal: all together at most `entries_max` entries, if that is given."""

    def __init__(self, store: Store, entries_max: int | None) -> None:
        self._store = store
        self._entries_max = entries_max
        self._read = 0

    async def entries(self, partition: int, begin_ms: int, end_ms: int) -> AsyncGenerator[JournalEntry]:
        """Return the entries from a time to before another.

        Raises:
            ValidationFailed: these are too many.

        """
        # Not beyond the last entry: the store takes a position that is ahead of its journal for a loss.
        end = await self._store.read_end(partition)
        step_ms = await self._store.read_clock_step(partition)
        if step_ms is not None:
            end = min(end, Position(end_ms + step_ms, 0))
        position = Position(max(begin_ms - 1, 0), NUMBER_MAX)
        while position < end:
            batch = await self._store.read_journal(partition, position, ENTRIES)
            self._count(len(batch.entries))
            for entry in batch.entries:
                try:
                    at_ms = entry.at_ms
                except ValueError as error:
                    self._store.unreadable.note("entry", entry.id, error)
                    continue
                if begin_ms <= at_ms < end_ms:
                    yield entry
            position = batch.end
            if batch.is_last:
                return

    def _count(self, entries: int) -> None:
        self._read += entries
        if self._entries_max is not None and self._read > self._entries_max:
            raise ValidationFailed(
                [
                    FieldError(
                        "rows",
                        f"belong to more than {self._entries_max:,} entries of the journal: give a shorter "
                        "period, or use `technopay reconcile`",
                    )
                ]
            )


def windows_of(keys: Iterable[str]) -> Iterator[Window]:
    """Return the parts in which refunds began, by their sorted ids; ids without a time are anywhere."""
    begin_ms = end_ms = refunds = timeless = 0
    for key in keys:
        at_ms = time_in(key)
        if at_ms is None:
            timeless += 1
            continue
        if refunds and at_ms - MARGIN_MS > end_ms:
            yield Window(begin_ms, end_ms, refunds)
            refunds = 0
        begin_ms = begin_ms if refunds else at_ms - MARGIN_MS
        end_ms = at_ms + MARGIN_MS
        refunds += 1
    if refunds:
        yield Window(begin_ms, end_ms, refunds)
    if timeless:
        yield Window(0, ALWAYS_MS, timeless)
