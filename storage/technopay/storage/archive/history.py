"""The part of a store's history that left it, read from its archive."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import JournalBatch, JournalEntry, Position
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.checkpoints import Checkpoint, read_checkpoint
from technopay.storage.archive.database import ArchiveUnfit, Row
from technopay.storage.archive.rows import entry_of
from technopay.storage.records import UNREADABLE

NOT_ATTACHED = "The history up to {} is in an archive, and none is attached: name it by TECHNOPAY_ARCHIVE."


class Trimmed(NamedTuple):
    """Up to which entry the journal of a partition left the store, and the digest of the checkpoint there."""

    partition: int
    to: Position
    checkpoint: str


class History:
    """Reads trimmed entries of a store. Every method raises ArchiveUnavailable if the archive does not work.

    An archive without the checkpoint that the store has, such as an older copy, may lack entries up to it.
    """

    def __init__(self, archive: Archive, meta: Mapping[str, str]) -> None:
        self.archive = archive
        self._meta = meta
        self._proved: dict[int, tuple[Trimmed, Checkpoint]] = {}

    async def checkpoint(self, trimmed: Trimmed) -> Checkpoint:
        """Return the checkpoint that the store has."""
        proved = self._proved.get(trimmed.partition)
        if proved and proved[0] == trimmed:
            return proved[1]
        await self._bind()
        with unfit_is_unavailable():
            found = await read_checkpoint(self.archive, *trimmed)
        self._proved[trimmed.partition] = (trimmed, found)
        return found

    async def read(self, trimmed: Trimmed, after: Position, limit: int, until: Position) -> JournalBatch:
        """Read trimmed entries after a position, up to another one; more follow in the store."""
        await self.checkpoint(trimmed)
        end = min(trimmed.to, until)
        with unfit_is_unavailable():
            rows = await self.archive.read_events(trimmed.partition, after, limit, end)
        entries = _entries_of(rows)
        is_whole = len(rows) < limit
        return JournalBatch(entries, end if is_whole else Position.of(entries[-1].id), is_last=False)

    async def read_entries(self, trimmed: Trimmed, ids: Sequence[str]) -> Mapping[str, JournalEntry]:
        """Read those of these entries that were trimmed, by id."""
        await self.checkpoint(trimmed)
        positions = [each for each in map(Position.of, ids) if each <= trimmed.to]
        with unfit_is_unavailable():
            found = await self.archive.read_events_at(trimmed.partition, positions)
        return {entry.id: entry for entry in _entries_of(found)}

    async def read_backwards(self, trimmed: Trimmed, before: Position, limit: int) -> Sequence[JournalEntry]:
        """Read trimmed entries before a position, newest first."""
        await self.checkpoint(trimmed)
        with unfit_is_unavailable():
            rows = await self.archive.read_events_backwards(trimmed.partition, before, limit, trimmed.to)
        return _entries_of(rows)

    async def read_ended(self, trimmed: Trimmed, ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Read payments and invoices that ended with money, or without a payment, as the store had them.

        With a payment also the invoice that it paid, and the other way around.
        """
        await self.checkpoint(trimmed)
        with unfit_is_unavailable(), _unreadable_is_unavailable():
            found = dict(await self.archive.read_records(trimmed.partition, ids))
            pairs = {
                fields["invoice" if name.startswith("pay_") else "payment"]
                for name, fields in found.items()
                if is_paid(name, fields)
            }
            found.update(await self.archive.read_records(trimmed.partition, list(pairs)))
            return {name: as_stored(fields) for name, fields in found.items() if is_ended(name, fields)}

    async def list_ended(
        self, trimmed: Trimmed, table: str, column: str, value: str, cursor: str, limit: int
    ) -> Sequence[str]:
        """List the ids of ended payments or invoices before a cursor, newest first."""
        await self.checkpoint(trimmed)
        with unfit_is_unavailable():
            return await self.archive.list_ended(trimmed.partition, table, column, value, cursor, limit)

    async def find_holder(self, merchant: str, reference: str) -> str | None:
        """Return the paid invoice of a reference, of any partition."""
        await self._bind()
        with unfit_is_unavailable():
            return await self.archive.find_paid_invoice(merchant, reference)

    async def _bind(self) -> None:
        with unfit_is_unavailable():
            await self.archive.bind(self._meta, creates=False)


@contextmanager
def unfit_is_unavailable() -> Iterator[None]:
    """Raise ArchiveUnavailable where an archive must not be used: only history needs it."""
    try:
        yield
    except ArchiveUnfit as error:
        raise ArchiveUnavailable(f"The archive: {error}") from error


@contextmanager
def _unreadable_is_unavailable() -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise ArchiveUnavailable(f"The archive has a row that cannot be read: {error!r}") from error


def _entries_of(rows: Iterable[Row]) -> Sequence[JournalEntry]:
    with _unreadable_is_unavailable():
        return [entry_of(row) for row in rows]


def is_paid(record_id: str, fields: Mapping[str, str]) -> bool:
    """Whether a record is a payment that paid its invoice, or an invoice that was paid."""
    if record_id.startswith("pay_"):
        return fields["status"] in ("succeeded", "refunded")
    return fields["status"] == "paid"


def is_ended(record_id: str, fields: Mapping[str, str]) -> bool:
    """Whether a record can leave the store, see drop_records.lua."""
    if record_id.startswith("pay_"):
        return fields["status"] in ("succeeded", "refunded", "failed") and "paid_at" in fields
    return fields["status"] in ("paid", "void")


def as_stored(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fields of a record without those that follow from its payment, see shared/invoice.lua."""
    if fields["status"] != "paid":
        return fields
    return {name: text for name, text in fields.items() if name not in ("paid_at", "refunds")} | {
        "status": "open"
    }
