"""Compares the references of invoices with their homes.

Invoice and home are read one after the other, so a difference is read again before it is reported.
"""

from collections.abc import Iterable, Mapping, Sequence

from technopay.engine.models import Difference
from technopay.storage.archive.archive import INVOICE_COLUMNS
from technopay.storage.archive.rows import from_json
from technopay.storage.audit.invariants import INVOICE, differ
from technopay.storage.commands import AuditInvoices, AuditUsed, ReadReservation
from technopay.storage.creations import home_of_reference
from technopay.storage.partition import Partition
from technopay.storage.partitions import Partitions
from technopay.storage.records import fields_of
from technopay.storage.references import reference_digest, referred_as

READS = 2
BATCH = 500


async def compare_references(
    partitions: Partitions, partition: Partition, ids: Iterable[list[str]]
) -> list[Difference]:
    """Return the open invoices of a partition whose reference is not theirs."""
    differences = []
    for batch in ids:
        suspects = batch
        for _ in range(READS):
            holders = await _wrong_holders(partitions, partition, suspects)
            suspects = list(holders)
        differences += [
            differ(INVOICE, invoice_id, "invoice of its reference", invoice_id, holder)
            for invoice_id, holder in holders.items()
        ]
    return differences


async def compare_used_references(partitions: Partitions, partition: Partition) -> list[Difference]:
    """Return the paid invoices of a partition that left the store and whose reference could be used again."""
    trimmed = await partition.read_trimmed()
    if trimmed is None:
        return []
    history = partition.through.history_of(trimmed)
    await history.checkpoint(trimmed)
    differences: list[Difference] = []
    suspects: list[tuple[str, Mapping[str, str]]] = []
    async for row in history.archive.read_table("invoices", partition.number, BATCH):
        invoice = dict(zip(INVOICE_COLUMNS, row, strict=True))
        if invoice["status"] == "paid" and invoice["reference"]:
            suspects.append((invoice["id"], from_json(invoice["record"])))
        if len(suspects) == BATCH:
            differences += await _unused(partitions, suspects)
            suspects = []
    return differences + await _unused(partitions, suspects)


async def _unused(
    partitions: Partitions, invoices: Sequence[tuple[str, Mapping[str, str]]]
) -> list[Difference]:
    differences = []
    for home in partitions:
        own = [
            (name, fields.get("referred") or referred_as(fields["merchant"], fields["reference"]))
            for name, fields in invoices
            if home_of_reference(list(partitions), fields["merchant"], fields["reference"]) is home
        ]
        digests = [reference_digest(home.reference_key, referred) for _, referred in own]
        found = (await home.run(AuditUsed(digests))).value or [] if own else []
        for (invoice_id, referred), is_used in zip(own, found, strict=True):
            # One that is in the store yet has its reference there.
            kept = "" if is_used else (await home.run(ReadReservation(referred))).value or ""
            if not is_used and kept.partition(" ")[0] != invoice_id:
                differences.append(differ(INVOICE, invoice_id, "its reference", "used", "free"))
    return differences


async def _wrong_holders(partitions: Partitions, partition: Partition, ids: list[str]) -> Mapping[str, str]:
    """Return the holders of the references of those invoices that are open and do not have theirs."""
    if not ids:
        return {}
    _, found = (await partition.run(AuditInvoices(ids))).value or ("", ())
    wrong = {}
    for invoice_id, record in zip(ids, found, strict=True):
        invoice = fields_of(record[0]) if record != [invoice_id] else {}
        if invoice.get("status") == "open" and "reference" in invoice:
            merchant, reference = invoice["merchant"], invoice["reference"]
            home = home_of_reference(list(partitions), merchant, reference)
            kept = (await home.run(ReadReservation(referred_as(merchant, reference)))).value or ""
            if (holder := kept.partition(" ")[0]) != invoice_id:
                wrong[invoice_id] = holder
    return wrong
