"""Compares the rows of a settlement file with the payments and refunds of a store, in bounded memory."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Protocol

from technopay.engine.errors import InternalError
from technopay.engine.fields import is_record_id
from technopay.engine.models import OperatorPayment
from technopay.engine.ports import Store
from technopay.engine.reads import FindPayment
from technopay.engine.reconciliation.book import Row, RowBook
from technopay.engine.reconciliation.journal import JournalReader, windows_of
from technopay.engine.reconciliation.models import (
    ITEMS_MAX,
    Mismatch,
    Ours,
    Reconciliation,
    RowCounts,
    Theirs,
)
from technopay.engine.reconciliation.sides import Decision, decision_for, is_equal, standing_of
from technopay.engine.record import from_ms, to_ms, to_ms_up

PAYMENTS_AT_A_TIME = 50
"""Payments that are read together: purchases wait no longer than for these."""

Payments = dict[str, OperatorPayment | None]


class Decide(Protocol):
    """Resolves a payment that was set aside, because of a row."""

    async def __call__(self, row: Row, payment: OperatorPayment, decision: Decision) -> OperatorPayment:
        """Return the payment as it is then, decided or not."""


class Reconciler:
    """One comparison. Nothing is changed, except by `decide`."""

    def __init__(
        self,
        store: Store,
        book: RowBook,
        settled_from: datetime | None = None,
        settled_to: datetime | None = None,
        *,
        entries_max: int | None = None,
        decide: Decide | None = None,
    ) -> None:
        self._store = store
        self._book = book
        self._given = settled_from, settled_to
        self._journal = JournalReader(store, entries_max)
        self._decide = decide
        self._unreadable: set[str] = set()
        self._ended_ms: tuple[int, int] | None = None
        """The earliest and the latest end of a payment or a refund of the file."""
        self._counts: Counter[str] = Counter()
        self._items: dict[str, list[Mismatch]] = {"missing": [], "extra": [], "different": []}

    async def reconcile(self) -> Reconciliation:
        """Find the payments of refunds, compare the rows, and then look for what is missing."""
        for partition in self._store.partitions:
            await self._find_refunds(partition)
        for rows in self._book.batches(PAYMENTS_AT_A_TIME):
            payments = await self._read(rows)
            for row in rows:
                await self._compare(row, payments.get(_payment_id(row)))
            self._counts["rows"] += len(rows)
        begin_ms, end_ms = self._period()
        if begin_ms is not None and end_ms is not None:
            for partition in self._store.partitions:
                await self._find_missing(partition, begin_ms, end_ms)
        counts = RowCounts(**{name: self._counts[name] for name in RowCounts.model_fields})
        return Reconciliation(
            **self._items,
            counts=counts,
            settled_from=self._given[0] or (None if begin_ms is None else from_ms(begin_ms)),
            settled_to=self._given[1] or (None if end_ms is None else from_ms(end_ms)),
        )

    async def _find_refunds(self, partition: int) -> None:
        """Find the payments of the refunds: these have no index, but their ids have the time of their begin."""
        for begin_ms, end_ms, wanted in windows_of(self._book.refunds(partition)):
            async with aclosing(self._journal.entries(partition, begin_ms, end_ms)) as entries:
                async for entry in entries:
                    if entry.type != "payment.refunding":
                        continue
                    refund, asked = entry.fields.get("refund", ""), int(entry.fields.get("amount", "0"))
                    wanted -= self._book.note_refund(refund, entry.subject, asked)
                    if not wanted:
                        break

    async def _read(self, rows: Sequence[Row]) -> Payments:
        ids = list(dict.fromkeys(filter(None, map(_payment_id, rows))))
        return dict(zip(ids, await asyncio.gather(*map(self._find, ids)), strict=True))

    async def _find(self, payment_id: str) -> OperatorPayment | None:
        try:
            return (await self._store.run(FindPayment(payment_id))).value
        except InternalError:
            self._unreadable.add(payment_id)
            return None

    async def _compare(self, row: Row, payment: OperatorPayment | None) -> None:
        if payment is None:
            self._report("different" if _payment_id(row) in self._unreadable else "extra", row.key, None, row)
            return
        ours, ended_at = standing_of(row, payment)
        decision = decision_for(ours, row)
        if decision and self._decide:
            ours, ended_at = standing_of(row, await self._decide(row, payment, decision))
        if ended_at:
            self._note_end(to_ms(ended_at))
        if is_equal(ours, row):
            self._counts["equal"] += 1
        else:
            self._report("extra" if ours.outcome == "unsent" else "different", row.key, ours, row)

    def _note_end(self, at_ms: int) -> None:
        first, last = self._ended_ms or (at_ms, at_ms)
        self._ended_ms = min(first, at_ms), max(last, at_ms)

    def _period(self) -> tuple[int | None, int | None]:
        """Return the first millisecond of the period and the one behind it: as given, or as the rows ended."""
        first, last = self._ended_ms or (None, None)
        settled_from, settled_to = self._given
        return (
            to_ms_up(settled_from) if settled_from else first,
            to_ms_up(settled_to) if settled_to else None if last is None else last + 1,
        )

    async def _find_missing(self, partition: int, begin_ms: int, end_ms: int) -> None:
        """Find what was settled or reversed in the period, but is not in the file."""
        async with aclosing(self._journal.entries(partition, begin_ms, end_ms)) as entries:
            async for entry in entries:
                key = entry.subject if entry.type == "payment.succeeded" else ""
                if entry.type in ("payment.refunded", "payment.partially_refunded"):
                    key = entry.fields.get("refund", "")  # the first version had none to name
                if not key or key in self._book:
                    continue
                ours = None
                if len(self._items["missing"]) < ITEMS_MAX:
                    payment = await self._find(entry.subject)
                    ours = standing_of(Row(0, key, 0, "", ""), payment).ours if payment else None
                self._report("missing", key, ours, None)

    def _report(self, kind: str, key: str, ours: Ours | None, row: Row | None) -> None:
        self._counts[kind] += 1
        if len(self._items[kind]) < ITEMS_MAX:
            outcome: Any = row and row.outcome
            theirs = Theirs(amount=row.amount, currency=row.currency, outcome=outcome) if row else None
            self._items[kind].append(Mismatch(key=key, ours=ours, theirs=theirs))


def _payment_id(row: Row) -> str:
    """Return the id of the payment that a row is about; '' if it cannot be known."""
    if row.key.startswith("pay_"):
        return row.key if is_record_id(row.key) else ""
    return row.payment_id or ""
