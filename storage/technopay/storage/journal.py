"""Entries of the journal, as the server returns them."""

from collections.abc import Sequence
from typing import Any

from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import BEGINNING, JournalBatch, JournalEntry, Position
from technopay.storage.records import UNREADABLE, fields_of


def entry_of(raw: Sequence[Any]) -> JournalEntry:
    """Read {id, [type, subject, name, value, ...]}."""
    entry_id, (entry_type, subject, *flat) = raw
    return JournalEntry(entry_id, entry_type, subject, fields_of(flat))


def batch_of(found: Sequence[Any], after: Position, limit: int, unreadable: UnreadableRecords) -> JournalBatch:
    """Read entries; an unreadable one is noted and left out."""
    entries = []
    for raw in found:
        try:
            entries.append(entry_of(raw))
        except UNREADABLE as error:
            unreadable.note("entry", str(raw[0]), error)
    end = Position.of(found[-1][0]) if found else after
    return JournalBatch(entries, end, len(found) < limit)


def position_of_last(found: Sequence[Any]) -> Position:
    """Return the position of the first of these entries, newest first."""
    return Position.of(found[0][0]) if found else BEGINNING
