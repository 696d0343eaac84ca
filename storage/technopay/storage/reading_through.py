"""Reads through to the archive: entries, payments and invoices that left the store.

Entries are read from the archive. A payment or an invoice is restored in the store for a moment, and the
command is sent again: so every rule holds for it as before, and a refund keeps it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from technopay.engine.commands import Command
from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.reads import (
    ListEntries,
    ListInvoices,
    ListPayments,
    ReadOwned,
    ReadStatement,
    SearchInvoices,
    SearchPayments,
    SearchUsers,
    SearchWallets,
)
from technopay.engine.system import time_in
from technopay.engine.values import JournalEntry, Position
from technopay.storage.archive.history import NOT_ATTACHED, History, Trimmed
from technopay.storage.decode import Reply
from technopay.storage.records import entry_from

SCANNED = 2_000
"""Archived entries that one search reads, so a page can be short while there is a next one."""
INDEXED = 200
"""Archived records of a user that one search reads; see shared/search.lua."""
RESTORED = 50
"""Records that one script restores."""
MARGIN_MS = 60_000
"""By which the clocks of engines, which are in ids, and of the store may differ."""
POSITION = re.compile("[0-9]+-[0-9]+")
SEARCHED: Mapping[type[Command[Any]], str] = {
    SearchUsers: "user.created",
    SearchWallets: "wallet.created",
    SearchInvoices: "invoice.created",
    SearchPayments: "payment.started",
}
"""The entries of the journal that a search reads."""
WITH_ENTRIES = (ListEntries, ReadStatement)
LISTED: Mapping[type[Command[Any]], str] = {
    ListPayments: "payments", ListInvoices: "invoices", SearchPayments: "payments", SearchInvoices: "invoices",
}  # fmt: skip
"""The tables of the lists of records."""
READS_HISTORY = (*SEARCHED, *LISTED, *WITH_ENTRIES, ReadOwned)
NOT_FOUND = frozenset({"payment_not_found", "invoice_not_found"})


class Source(Protocol):
    """The partition whose history is read."""

    @property
    def history(self) -> History | None: ...

    async def read_raw(self, command: Command[Any]) -> Reply:
        """Run a command that only reads, and return its reply as it is."""
        ...

    async def read_trimmed(self) -> Trimmed | None: ...

    async def is_used(self, merchant: str, reference: str) -> bool:
        """Whether an invoice that left the store used a reference, whose home this is."""
        ...

    async def restore(self, records: Sequence[str]) -> int: ...


class ReadingThrough:
    """Completes the replies of a partition from the archive."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def history_of(self, trimmed: Trimmed) -> History:
        """Return the history that left the store.

        Raises:
            ArchiveUnavailable: no archive is attached.

        """
        if self._source.history is None:
            raise ArchiveUnavailable(NOT_ATTACHED.format(trimmed.to))
        return self._source.history

    async def complete(self, command: Command[Any], reply: Reply) -> Reply:
        """Return the reply to a command of READS_HISTORY with all that left the store."""
        if not reply.body or not self._may_lack(command, reply):
            return reply
        trimmed = await self._source.read_trimmed()
        if trimmed is None:
            return reply
        if isinstance(command, WITH_ENTRIES):
            missing = _missing_entries(command, reply)
            found = await self.history_of(trimmed).read_entries(trimmed, missing)
            return _with_entries(command, reply, found)
        if isinstance(command, ReadOwned):
            return await self._complete_owned(command, reply, trimmed)
        if type(command) in LISTED and _reads_index(command):
            return await self._complete_list(command, reply, trimmed)
        return await self._go_on(command, reply, trimmed)

    async def bring_back(self, command: Command[Any]) -> bool:
        """Restore the payment or the invoice of a command, if it left the store; return whether one was."""
        trimmed = await self._source.read_trimmed()
        if trimmed is None:
            return False
        named = (getattr(command, name, None) for name in ("payment_id", "invoice_id"))
        ids, user_id = [each for each in named if each], getattr(command, "user_id", None)
        return await self._restore(trimmed, ids, user_id) > 0

    async def read_entry(self, entry_id: str) -> Any:
        """Read an entry of a wallet that was trimmed; None if there is none."""
        trimmed = await self._source.read_trimmed()
        if trimmed is None:
            return None
        found = await self.history_of(trimmed).read_entries(trimmed, [entry_id])
        return entry_from(_raw_of(found[entry_id])) if entry_id in found else None

    async def find_used(self, merchant: str, reference: str) -> str:
        """Return the invoice that left the store and used a reference; '' if there is none."""
        return (
            await self.find_holder(merchant, reference)
            if await self._source.is_used(merchant, reference)
            else ""
        )

    async def find_holder(self, merchant: str, reference: str) -> str:
        """Return the invoice that used a reference, and left the store.

        Raises:
            ArchiveUnavailable: the archive does not have it.

        """
        history = self._source.history
        found = await history.find_holder(merchant, reference) if history else None
        if found is None:
            raise ArchiveUnavailable(
                "The archive: it is not attached, or lacks the invoice of a used reference."
            )
        return found

    async def _restore(self, trimmed: Trimmed, ids: Sequence[str], user_id: str | None = None) -> int:
        """Restore what left the store; return 0 if none of it did. Another call can have restored it first."""
        restored = 0
        for first in range(0, len(ids), RESTORED):
            portion = ids[first : first + RESTORED]
            found = await self.history_of(trimmed).read_ended(trimmed, portion)
            records = [
                text
                for record_id, fields in found.items()
                if user_id in (None, fields["user"])
                for text in (record_id, json.dumps(fields))
            ]
            if records:
                await self._source.restore(records)
            restored += len(records)
        return restored

    def _may_lack(self, command: Command[Any], reply: Reply) -> bool:
        """Whether a reply can lack what left the store, if anything did."""
        if isinstance(command, WITH_ENTRIES):
            return bool(_missing_entries(command, reply))
        if isinstance(command, ReadOwned):
            return 0 in reply.body[0]
        return True

    async def _complete_owned(self, command: ReadOwned, reply: Reply, trimmed: Trimmed) -> Reply:
        missing = [
            each
            for each, record in zip(command.record_ids, reply.body[0], strict=True)
            if record == 0 and each.startswith(("pay_", "inv_"))
        ]
        restored = await self._restore(trimmed, missing) if missing else 0
        return await self._source.read_raw(command) if restored else reply

    async def _complete_list(self, command: Any, reply: Reply, trimmed: Trimmed) -> Reply:
        """List also the records of a user that left the store, which are older than those on a later page."""
        cursor = reply.body[1]
        oldest_ms = time_in(cursor) if cursor else None
        if oldest_ms is not None and oldest_ms > trimmed.to.at_ms + MARGIN_MS:
            return reply
        limit = INDEXED if isinstance(command, SearchPayments | SearchInvoices) else command.limit + 1
        history = self.history_of(trimmed)
        if isinstance(command, SearchInvoices) and command.merchant and command.reference:
            holder = await self.find_used(command.merchant, command.reference)
            ids: Sequence[str] = [holder] if holder and not reply.body[0] else []
        else:
            column, name = _owner_of(command)
            ids = await history.list_ended(trimmed, LISTED[type(command)], column, name, command.cursor, limit)
        if not ids:
            return reply
        await self._restore(trimmed, ids)
        return await self._source.read_raw(replace(command, archived=ids))

    async def _go_on(self, command: Any, reply: Reply, trimmed: Trimmed) -> Reply:
        """Go on with a search in the archive where the journal of the store ends.

        A page with a record is whole: the next one begins in the archive.
        """
        found, cursor, _ = reply.body
        if found or not POSITION.fullmatch(cursor):
            return reply
        before = Position.of(cursor)
        if before > trimmed.to._replace(number=trimmed.to.number + 1):
            return reply
        entries = await self.history_of(trimmed).read_backwards(trimmed, before, SCANNED)
        begin = Position(getattr(command, "created_from", None) or 0, 0)
        is_last = len(entries) < SCANNED or Position.of(entries[-1].id) < begin
        cursor = "" if is_last else entries[-1].id
        wanted = [
            each for each in entries if each.type == SEARCHED[type(command)] and Position.of(each.id) >= begin
        ]
        if not wanted:
            return reply._replace(body=[[], cursor, []])
        if type(command) in LISTED:
            await self._restore(trimmed, [each.subject for each in wanted])
        names = [text for each in wanted for text in (each.id, each.subject)]
        archived = await self._source.read_raw(replace(command, archived=names))
        return archived._replace(body=[archived.body[0], archived.body[1] or cursor, archived.body[2]])


def _reads_index(command: Any) -> bool:
    """Whether a list reads an index of the store, and not its journal; that of payments set aside has all."""
    if isinstance(command, SearchPayments):
        return not command.set_aside and bool(command.user_id or command.invoice_id)
    if isinstance(command, SearchInvoices):
        return bool(command.user_id or (command.merchant and command.reference))
    return True


def _owner_of(command: Any) -> tuple[str, str]:
    """Return the column and the value by which a list is selected."""
    if getattr(command, "invoice_id", None):
        return "invoice_id", command.invoice_id
    return "user_id", command.user_id


def _missing_entries(command: Command[Any], reply: Reply) -> Sequence[str]:
    """Return the ids of entries that a reply lacks: they were trimmed, or cannot be read."""
    body = reply.body
    entries = body[0] if isinstance(command, ListEntries) else (*body[1], *body[3])
    return [each[0] for each in entries if len(each) == 1]


def _with_entries(command: Command[Any], reply: Reply, found: Mapping[str, JournalEntry]) -> Reply:
    """Return a reply with the entries that it lacked."""

    def complete(entries: Iterable[Any]) -> list[Any]:
        return [_raw_of(found[each[0]]) if len(each) == 1 and each[0] in found else each for each in entries]

    if isinstance(command, ListEntries):
        entries, *rest = reply.body
        return reply._replace(body=[complete(entries), *rest])
    wallet, entries, cursor, around = reply.body
    return reply._replace(body=[wallet, complete(entries), cursor, complete(around)])


def _raw_of(entry: JournalEntry) -> list[Any]:
    """Return an entry as the server returns one."""
    return [entry.id, [entry.type, entry.subject, *(text for pair in entry.fields.items() for text in pair)]]
