"""Verifies an archive: chains, records, checkpoints, and the invariants, recomputed from its first entry.

A row that was changed by hand is named. A whole chain that was computed anew is consistent in itself; it
differs from the digest that the store recorded. No entry has the merchant, the reference, the description
and the metadata of an invoice: a record with its digest computed anew passes, if payment and invoice agree.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from technopay.engine.models import Audit, Checked, Difference
from technopay.engine.values import BEGINNING, Position
from technopay.storage.archive.archive import INVOICE_COLUMNS, ORIGIN, PAYMENT_COLUMNS, Archive
from technopay.storage.archive.checkpoints import Checkpoint
from technopay.storage.archive.database import Row
from technopay.storage.archive.history import Trimmed
from technopay.storage.archive.proof import CheckpointProof
from technopay.storage.archive.rows import (
    ArchivePosition,
    Record,
    entry_of,
    first_chain,
    from_json,
    invoice_row,
    link,
    payment_row,
)
from technopay.storage.audit.effects import apply
from technopay.storage.audit.invariants import CHANGE, INVOICE, READABLE, differ
from technopay.storage.audit.ledger import Ledger
from technopay.storage.records import UNREADABLE

CHAIN = "history_is_one_chain"
"""The digest of every archived entry follows from the one before, up to the end that store and archive name."""
RECORD = "records_are_as_they_were_read"
"""A payment or an invoice of the archive is as the store had it."""
PAID = "CREATE TABLE paid (invoice TEXT, payment TEXT, merchant TEXT, PRIMARY KEY (invoice, payment))"
INVOICE_STATUSES = {
    "processing": "processing", "succeeded": "paid", "refunding": "paid", "refunded": "paid",
}  # fmt: skip
"""The status of an invoice, by that of the payment that pays it; see scripts/shared/invoice.lua."""
BATCH = 500
DIFFERENCES_MAX = 1_000


class Verifier:
    """Verifies one partition of an archive, up to a position of it."""

    def __init__(
        self, archive: Archive, number: int, end: Position | None, trimmed: Trimmed | None = None
    ) -> None:
        self._archive = archive
        self._number = number
        self._end = end
        """The end of the journal in the store, if that is known."""
        self._archived_to = BEGINNING
        self._folded = ArchivePosition(Position(-1, -1), "", 0)
        """The last event that the ledger has, the digest of the chain, and the number of events up to there."""
        self._proof = CheckpointProof(archive, number, trimmed)
        self._differences: list[Difference] = []
        self.ledger = Ledger(self._report)
        self.ledger.do(PAID)
        self._records: Counter[str] = Counter()

    async def verify(self) -> Sequence[Difference]:
        """Return what is wrong with the partition, at most a thousand differences."""
        # In this order: the archive has the entries of a checkpoint before it has the checkpoint.
        checkpoints, differences = await self._proof.read()
        self._report_all(differences)
        archived = await self._archive.read_position(self._number)
        self._archived_to = archived.position
        await self._verify_events(archived, checkpoints)
        await self._verify_records("payments", PAYMENT_COLUMNS, payment_row, self._compare_payment)
        await self._verify_records("invoices", INVOICE_COLUMNS, invoice_row, self._compare_invoice)
        await self._verify_presence()
        later, added = await self._archive.count_behind(self._number, archived)
        if later != added:
            behind = f"events behind {archived.position}"
            self._report(differ(CHAIN, f"partition {self._number:02x}", behind, added, later))
        return self._differences

    async def _verify_events(self, archived: ArchivePosition, checkpoints: Sequence[Checkpoint]) -> None:
        first = first_chain((await self._archive.read_meta())[ORIGIN], self._number)
        self._folded = self._folded._replace(chain=first)
        for each in checkpoints:
            await self._fold(min(each.position, archived.position))
            is_last = each is checkpoints[-1]
            self._report_all(await self._proof.prove(each, self._folded, self.ledger, is_last=is_last))
        await self._fold(archived.position)
        found = self._folded._replace(position=max(self._folded.position, BEGINNING))
        for what, expected, actual in zip(ArchivePosition._fields, archived, found, strict=True):
            if expected != actual:
                self._report(differ(CHAIN, f"partition {self._number:02x}", what, expected, actual))

    async def _fold(self, end: Position) -> None:
        """Verify the events up to a position, and apply them to the ledger."""
        position, chain, count = self._folded
        while rows := await self._archive.read_events(self._number, position, BATCH, end):
            for row in rows:
                _, entry_ms, entry_number, _, entry_type, subject, fields, kept = row
                position, count = Position(entry_ms, entry_number), count + 1
                if link(chain, str(position), entry_type, subject, fields) != kept:
                    self._report(differ(CHAIN, self._name(position), "digest", "one that follows", kept))
                chain = kept
                self._apply(row, position)
        self._folded = ArchivePosition(position, chain, count)

    def _apply(self, row: Row, position: Position) -> None:
        try:
            entry = entry_of(row)
            if entry.at_ms != row[3]:
                self._report(differ(CHAIN, self._name(position), "at_ms", entry.at_ms, row[3]))
        except UNREADABLE as error:
            self._report(differ(READABLE, self._name(position), "event", "one that can be read", repr(error)))
            return
        apply(self.ledger, entry)

    async def _verify_records(
        self,
        table: str,
        columns: Sequence[str],
        build: Callable[[int, Record], Row],
        compare: Callable[[Mapping[str, Any]], Iterator[Difference]],
    ) -> None:
        """Verify that each row follows from its record, and agrees with the events."""
        async for row in self._archive.read_table(table, self._number, BATCH):
            self._records[table] += 1
            found = dict(zip(columns, row, strict=True))
            try:
                read_at = Position(found["read_ms"], found["read_number"])
                expected = build(self._number, Record(found["id"], from_json(found["record"]), read_at))
            except UNREADABLE as error:
                self._report(differ(READABLE, found["id"], table, "a record that can be read", repr(error)))
                continue
            for name, value in zip(columns, expected, strict=True):
                if found[name] != value:
                    self._report(differ(RECORD, found["id"], name, value, found[name]))
            if self._end is not None and read_at > self._end:
                self._report(differ(RECORD, found["id"], "read at", f"at most {self._end}", read_at))
            # A record that was read later has the effect of entries that are not archived yet.
            if read_at <= self._archived_to:
                self._report_all(compare(found))

    def _compare_payment(self, found: Mapping[str, Any]) -> Iterator[Difference]:
        payment = self.ledger.record("payment", found["id"])
        if payment is None:
            yield differ(CHANGE, found["id"], "payment", "an event that started it", "none")
            return
        facts = [("created_at", payment["created_at"], str(found["created_at_ms"]))]
        if payment["wallet"] is not None:
            wallet = self.ledger.record("wallet", payment["wallet"])
            facts += [
                ("status", payment["status"], found["status"]),
                ("user", wallet and wallet["user"], found["user_id"]),
                ("wallet", payment["wallet"], found["wallet_id"]),
                ("amount", payment["amount"], found["amount"]),
                ("currency", payment["currency"], found["currency"]),
                ("refunded_amount", payment["refunded"], found["refunded_amount"]),
                ("paid_at", payment["paid_at"], str(found["paid_at_ms"])),
                ("settled_at", payment["settled_at"], found["settled_at_ms"] and str(found["settled_at_ms"])),
            ]
        elif found["status"] != "requires_confirmation":
            # The record of a payment without a debit can be removed before its end is archived.
            facts.append(("status", payment["status"], found["status"]))
        yield from _differences(CHANGE, found["id"], facts)
        if payment["status"] in INVOICE_STATUSES:
            # So that a second one of the invoice is a difference.
            self.ledger.do(
                "INSERT INTO paid VALUES (?, ?, ?)", found["invoice_id"], found["id"], found["merchant"]
            )

    def _compare_invoice(self, found: Mapping[str, Any]) -> Iterator[Difference]:
        invoice = self.ledger.record("invoice", found["id"])
        if invoice is None:
            yield differ(CHANGE, found["id"], "invoice", "an event that created it", "none")
            return
        facts = [
            (name, invoice[name], str(found[column]))
            for name, column in (("user", "user_id"), ("amount", "amount"), ("currency", "currency"))
        ]
        paying = self.ledger.rows("SELECT payment, merchant FROM paid WHERE invoice = ?", found["id"])
        payments = [self.ledger.record("payment", each["payment"]) for each in paying]
        if len(payments) > 1:
            ids = ", ".join(each["payment"] for each in paying)
            facts.append(("payments", "at most one", ids))
        status = invoice["status"]
        for payment, row in zip(payments[:1], paying, strict=False):
            assert payment is not None
            status = INVOICE_STATUSES[payment["status"]]
            facts += [
                ("amount of its payment", str(payment["amount"]), str(found["amount"])),
                ("merchant of its payment", row["merchant"], found["merchant"]),
            ]
            if status == "paid":
                facts += [
                    ("payment", payment["id"], found["payment_id"]),
                    ("paid_at of its payment", payment["paid_at"], str(found["paid_at_ms"])),
                ]
        facts.append(("status", status, found["status"]))
        yield from _differences(INVOICE, found["id"], facts)

    async def _verify_presence(self) -> None:
        """Find payments and invoices without a row; only an unconfirmed payment can end unread."""
        for kind, table in (("payment", "payments"), ("invoice", "invoices")):
            for ids in self.ledger.ids(kind, BATCH):
                kept = await self._archive.find_ids(table, self._number, ids)
                for record_id in ids:
                    record = self.ledger.record(kind, record_id)
                    is_kept_in_store = kind == "invoice" or (record and record["wallet"])
                    if record_id not in kept and is_kept_in_store:
                        self._report(differ(RECORD, record_id, table, "a row", "none"))

    def count(self) -> Checked:
        """Return how many records were verified."""
        return Checked(
            entries=self.ledger.entries,
            users=self.ledger.count("user"),
            wallets=self.ledger.count("wallet"),
            invoices=self._records["invoices"],
            payments=self._records["payments"],
            limits=self.ledger.count("spending_limit"),
            messages=0,
        )

    def _name(self, position: Position) -> str:
        return f"event {position} of partition {self._number:02x}"

    def _report_all(self, differences: Iterable[Difference]) -> None:
        for each in differences:
            self._report(each)

    def _report(self, difference: Difference) -> None:
        if len(self._differences) < DIFFERENCES_MAX:
            self._differences.append(difference)


def _differences(invariant: str, subject: str, facts: Sequence[tuple[str, Any, Any]]) -> Iterator[Difference]:
    for what, expected, found in facts:
        if expected != found:
            yield differ(invariant, subject, what, expected, found)


async def verify(
    archive: Archive,
    ends: Mapping[int, Position] | None = None,
    trimmed: Mapping[int, Trimmed] | None = None,
) -> Audit:
    """Verify a whole archive, in bounded memory, also beside an archiver.

    With the ends of the journals in the store, a record that was read behind them is a difference; with the
    checkpoints behind which these were trimmed, one that the archive lacks.
    """
    counts: Counter[str] = Counter()
    differences: list[Difference] = []
    positions = await archive.read_positions()
    for number in sorted(positions):
        verifier = Verifier(archive, number, ends[number] if ends else None, (trimmed or {}).get(number))
        with closing(verifier.ledger):
            differences += await verifier.verify()
            counts.update(verifier.count().model_dump())
    for table in ("events", "payments", "invoices", "checkpoints", "checkpoint_rows"):
        strange = await archive.count_outside(table, len(positions))
        if strange:
            differences.append(differ(CHAIN, table, "rows of no partition", 0, strange))
    found = differences[:DIFFERENCES_MAX]
    return Audit(clean=not found, checked=Checked(**counts), differences=found)
