"""The records that have events, and the events of journal entries about them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, get_args

from technopay.engine.fields import Rule
from technopay.engine.models import (
    Event,
    Invoice,
    InvoiceEvent,
    Payment,
    PaymentEvent,
    Subject,
    Wallet,
    WalletEvent,
)
from technopay.engine.ports import Store
from technopay.engine.reads import ReadOwned
from technopay.engine.record import Record, from_ms
from technopay.engine.values import JournalEntry, Position

RECORDS_MAX = 50
"""Records that one script reads: it blocks all other scripts."""

SUBJECTS: Mapping[type[Record], tuple[Any, str]] = {
    Payment: (PaymentEvent, "payment"),
    Invoice: (InvoiceEvent, "invoice"),
    Wallet: (WalletEvent, "wallet"),
}
"""The event of each kind of record, and the event's field with the record."""
EVENT_TYPES = tuple(
    name for event, _ in SUBJECTS.values() for name in get_args(event.model_fields["type"].annotation)
)
"""The types of the entries that are events."""
IS_EVENT = frozenset(EVENT_TYPES)


def types_error(types: str | None) -> str | None:
    """Check event types, separated by commas."""
    if types is None or set(types.split(",")) <= IS_EVENT:
        return None
    return f"has to be event types, separated by commas, out of {', '.join(EVENT_TYPES)}"


EventTypes = Annotated[str, Rule(types_error)]


def types_in(types: str | None) -> Collection[str]:
    """Return the types that a filter names; without one, all of them."""
    return IS_EVENT if types is None else frozenset(types.split(","))


def event_id(partition: int, position: Position | str) -> str:
    return f"evt_{partition:02x}{position}"


def read_event(store: Store, partition: int, entry: JournalEntry, record: Subject) -> Event | None:
    """Return the event of an entry about a record; an unreadable one is noted and has none."""
    try:
        return event_of(event_id(partition, entry.id), entry.type, entry.at_ms, entry.version, record)
    except (ArithmeticError, LookupError, ValueError) as error:
        store.unreadable.note("entry", entry.id, error)
        return None


def event_of(name: str, event_type: str, at_ms: int, version: int, record: Subject) -> Event:
    model, field = next(found for kind, found in SUBJECTS.items() if isinstance(record, kind))
    values = {"id": name, "type": event_type, "at": from_ms(at_ms), "version": version, field: record}
    event: Event = model.trusted(**values)
    return event


async def read_subjects(
    store: Store, partition: int, entries: Iterable[JournalEntry], user_ids: Sequence[str]
) -> Mapping[str, Subject]:
    """Read the records of entries that belong to one of these users.

    A payment that never took money is deleted after a while: its entries are no events any more.
    """
    ids = list(dict.fromkeys(entry.subject for entry in entries))
    found: dict[str, Subject] = {}
    for first in range(0, len(ids), RECORDS_MAX):
        outcome = await store.run(ReadOwned(partition, user_ids, ids[first : first + RECORDS_MAX]))
        found.update(outcome.value or {})
    return found
