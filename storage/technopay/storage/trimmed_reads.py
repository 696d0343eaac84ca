"""Completes replies of the store with entries of the journal that left it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from technopay.engine.commands import Command
from technopay.engine.reads import (
    ListEntries,
    ReadStatement,
    SearchInvoices,
    SearchPayments,
    SearchUsers,
    SearchWallets,
)
from technopay.engine.values import JournalEntry, Position
from technopay.storage.archive.history import History, Trimmed
from technopay.storage.decode import Reply

SCANNED = 2_000
"""Archived entries that one search reads, so a page can be short while there is a next one."""
POSITION = re.compile("[0-9]+-[0-9]+")
SEARCHED: dict[type[Command[Any]], str] = {
    SearchUsers: "user.created",
    SearchWallets: "wallet.created",
    SearchInvoices: "invoice.created",
    SearchPayments: "payment.started",
}
"""The entries of the journal that a search reads."""
WITH_ENTRIES = (ListEntries, ReadStatement)
READS_JOURNAL = (*SEARCHED, *WITH_ENTRIES)


def missing_entries(command: Command[Any], reply: Reply) -> Sequence[str]:
    """Return the ids of entries that a reply lacks: they were trimmed, or cannot be read."""
    if not isinstance(command, WITH_ENTRIES) or not reply.body:
        return ()
    return [each[0] for each in _entries_in(command, reply.body) if len(each) == 1]


def with_entries(command: Command[Any], reply: Reply, found: Mapping[str, JournalEntry]) -> Reply:
    """Return a reply with the entries that it lacked."""

    def complete(entries: Iterable[Any]) -> list[Any]:
        return [raw_of(found[each[0]]) if len(each) == 1 and each[0] in found else each for each in entries]

    if isinstance(command, ListEntries):
        entries, *rest = reply.body
        return reply._replace(body=[complete(entries), *rest])
    wallet, entries, cursor, around = reply.body
    return reply._replace(body=[wallet, complete(entries), cursor, complete(around)])


def raw_of(entry: JournalEntry) -> list[Any]:
    """Return an entry as the server returns one."""
    return [entry.id, [entry.type, entry.subject, *(text for pair in entry.fields.items() for text in pair)]]


def behind(reply: Reply, trimmed: Trimmed) -> Position | None:
    """Return the position before which a search goes on in the archive; None if it does not, or not yet.

    A page with a record is whole: the next one begins in the archive.
    """
    found, cursor, _ = reply.body
    if found or not POSITION.fullmatch(cursor):
        return None
    position = Position.of(cursor)
    return position if position <= trimmed.to._replace(number=trimmed.to.number + 1) else None


async def search_archived(
    history: History, trimmed: Trimmed, command: Any, before: Position
) -> tuple[Command[Any] | None, str]:
    """Read archived entries before a position; return the search among them, and the cursor behind them."""
    entries = await history.read_backwards(trimmed, before, SCANNED)
    begin = Position(getattr(command, "created_from", None) or 0, 0)
    wanted = [
        each for each in entries if each.type == SEARCHED[type(command)] and Position.of(each.id) >= begin
    ]
    is_last = len(entries) < SCANNED or Position.of(entries[-1].id) < begin
    names = [text for each in wanted for text in (each.id, each.subject)]
    return (replace(command, archived=names) if names else None), "" if is_last else entries[-1].id


def _entries_in(command: Command[Any], body: Sequence[Any]) -> Iterable[Any]:
    return (*body[0],) if isinstance(command, ListEntries) else (*body[1], *body[3])
