"""What changed, straight from the journal, and what it was that changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import cast, get_args

from technopay.engine.journal import Change, Stretch
from technopay.engine.models import EventType, Invoice, InvoiceEventType, Payment, PaymentEventType, from_ms
from technopay.storage.base import ScriptRunner
from technopay.storage.records import fields_of, id_of, invoice_from, payment_from
from technopay.storage.versions import entry_version

START = "0-0"
PORTION = 50
"""Records that one script reads: it holds up all others."""
TYPES = frozenset({*get_args(PaymentEventType), *get_args(InvoiceEventType)})
"""The entries of the journal that users may know of."""


class EventScripts(ScriptRunner):
    """Reads changes. The journal never changes, so it is read plainly; records, by a script."""

    async def read_end(self) -> str:
        """Answer the last entry of the journal."""
        entries = await self._fetch("XREVRANGE", self._keys.journal, "+", "-", "COUNT", 1)
        return entries[0][0] if entries else START

    async def has_records(self, user_id: str) -> bool:
        """Answer whether a user has a payment or an invoice."""
        indexes = (self._keys.key(kind, user_id) for kind in ("invoices", "payments"))
        return any([await self._fetch("EXISTS", index) for index in indexes])

    async def read_changes(self, after: str, count: int) -> Stretch:
        """Read the next entries of the journal after one that need not exist."""
        entries = await self._fetch("XRANGE", self._keys.journal, f"({after}", "+", "COUNT", count)
        changes = [change for change in self._read_each("entry", entries, _change_of) if change]
        return Stretch(changes, entries[-1][0] if entries else after, len(entries) < count)

    async def read_owned(
        self, ids: Collection[str], user_ids: Collection[str]
    ) -> Mapping[str, Payment | Invoice]:
        """Read the payments and invoices among these that belong to one of these users."""
        users, wanted = " ".join(user_ids), list(ids)
        found: dict[str, Payment | Invoice] = {}
        for first in range(0, len(wanted), PORTION):
            portion = wanted[first : first + PORTION]
            reply = await self._run("read_owned", users=users, ids=portion)
            invoices = [record for record in reply.record if id_of(record).startswith("inv_")]
            payments = [record for record in reply.record if id_of(record).startswith("pay_")]
            read_invoice = partial(invoice_from, now_ms=reply.now_ms)
            read_payment = partial(payment_from, now_ms=reply.now_ms)
            found |= {each.id: each for each in self._read_each("invoice", invoices, read_invoice)}
            found |= {each.id: each for each in self._read_each("payment", payments, read_payment)}
        return found


def _change_of(entry: tuple[str, Sequence[str]]) -> Change | None:
    """Read an entry {id, [type, subject, name, value, ...]}; None when no user may know of it."""
    entry_id, (entry_type, subject, *flat) = entry
    if entry_type not in TYPES:
        return None
    said = fields_of(flat)
    at = from_ms(said.get("at") or entry_id.partition("-")[0])
    return Change(entry_id, cast("EventType", entry_type), subject, at, entry_version(entry_type, said))
