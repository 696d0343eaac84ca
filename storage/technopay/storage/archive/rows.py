"""The rows of an archive, from entries of the journal and from records of the store."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from technopay.engine.values import JournalEntry, Position
from technopay.storage.archive.database import ArchiveUnfit, Row
from technopay.storage.records import UNREADABLE
from technopay.storage.refunds import refunded_amount, refunds_from

logger = logging.getLogger(__name__)

DIGEST_BYTES = 16
JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class ArchivePosition(NamedTuple):
    """How far the journal of a partition is archived: the last entry and the digest of the chain up to it."""

    position: Position
    chain: str
    entries: int


class Record(NamedTuple):
    """A payment or an invoice as the store has it, at a position of the journal."""

    id: str
    fields: Mapping[str, str]
    read_at: Position


def first_chain(incarnation: str, partition: int) -> str:
    """Return the beginning of the chain of a partition."""
    return _digest((incarnation, str(partition)))


def link(chain: str, entry_id: str, entry_type: str, subject: str, fields: str) -> str:
    """Return the digest of the chain up to an entry; `fields` are as the archive has them."""
    return _digest((chain, entry_id, entry_type, subject, fields))


def event_rows(partition: int, entries: Iterable[JournalEntry], chain: str) -> list[Row]:
    """Return the rows of the entries of a journal, in order, behind the one with this digest of the chain."""
    rows: list[Row] = []
    for each in entries:
        rows.append(event_row(partition, each, chain))
        chain = rows[-1][-1]
    return rows


def event_row(partition: int, entry: JournalEntry, chain: str) -> Row:
    """Return the row of an entry behind the one with this digest of the chain."""
    text = to_json(entry.fields)
    chain = link(chain, entry.id, entry.type, entry.subject, text)
    return (partition, *Position.of(entry.id), entry.at_ms, entry.type, entry.subject, text, chain)


def events_chain(rows: Iterable[Row], chain: str) -> str:
    """Return the digest of the chain behind rows of `events`, from that before them.

    Raises:
        ArchiveUnfit: the digest of a row does not follow.

    """
    for partition, entry_ms, entry_number, _, entry_type, subject, fields, kept in rows:
        chain = link(chain, f"{entry_ms}-{entry_number}", entry_type, subject, fields)
        if chain != kept:
            raise ArchiveUnfit(
                f"the archived entry {entry_ms}-{entry_number} of partition {partition:02x} was changed"
            )
    return chain


def entry_of(row: Row) -> JournalEntry:
    """Return the entry of the journal of a row of `events`."""
    _, entry_ms, entry_number, _, entry_type, subject, fields, _ = row
    return JournalEntry(f"{entry_ms}-{entry_number}", entry_type, subject, from_json(fields))


def record_rows(
    partition: int, records: Iterable[Record], prefix: str, build: Callable[[int, Record], Row]
) -> list[Row]:
    """Return the rows of the records whose ids begin like this; an unreadable one is logged and left out."""
    rows = []
    for each in records:
        try:
            if each.id.startswith(prefix):
                rows.append(build(partition, each))
        except UNREADABLE as error:
            logger.error("the record %s cannot be archived: %r", each.id, error)
    return rows


def payment_row(partition: int, payment: Record) -> Row:
    fields = payment.fields
    refunds = refunds_from(fields.get("refunds", ""), fields.get("failure", ""), payment.id)
    return _with_record(
        partition, payment,
        (
            fields["user"], fields["wallet"], fields["invoice"], fields["merchant"], _whole(fields["amount"]),
            refunded_amount(refunds), fields["currency"], fields["status"], _whole(fields["created_at"]),
            _time(fields, "paid_at"), _time(fields, "settled_at"),
        ),
    )  # fmt: skip


def invoice_row(partition: int, invoice: Record) -> Row:
    fields = invoice.fields
    is_paid = fields["status"] == "paid"
    return _with_record(
        partition, invoice,
        (
            fields["user"], fields["merchant"], fields.get("reference"), fields.get("description"),
            _whole(fields["amount"]), fields["currency"], fields["status"], _whole(fields["created_at"]),
            _whole(fields["expires_at"]), _time(fields, "paid_at") if is_paid else None,
            fields.get("payment") if is_paid else None,
        ),
    )  # fmt: skip


def _with_record(partition: int, record: Record, columns: Row) -> Row:
    text = to_json(record.fields)
    return (record.id, partition, *columns, text, *record.read_at, record_digest(record.id, text))


def record_digest(record_id: str, text: str) -> str:
    """Return the digest of a record, as its row has it."""
    return _digest((record_id, text))


def from_json(text: str) -> Mapping[str, str]:
    """Read the fields of a record or an event.

    Raises:
        ValueError: it is not an object of texts.

    """
    fields = json.loads(text)
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ValueError("it is not an object of texts")
    return fields


def to_json(fields: Mapping[str, str]) -> str:
    return JSON.encode(fields)


def _time(fields: Mapping[str, str], name: str) -> int | None:
    return _whole(fields[name]) if name in fields else None


def _whole(text: str) -> int:
    """Return a whole number that a database can store.

    Raises:
        ValueError: it is none.

    """
    number = int(text)
    if abs(number) >= 2**63:
        raise ValueError("the number is too large")
    return number


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=DIGEST_BYTES).hexdigest()
