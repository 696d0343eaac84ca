"""Compares the references of invoices with their homes, on a store of several partitions.

Invoice and home are read one after the other, so a difference is read again before it is reported.
"""

from collections.abc import Iterable, Mapping

from technopay.engine.models import Difference
from technopay.storage.audit.invariants import INVOICE, differ
from technopay.storage.commands import AuditInvoices, ReadReservation
from technopay.storage.creations import home_of_reference, referred_as
from technopay.storage.partition import Partition
from technopay.storage.partitions import Partitions
from technopay.storage.records import fields_of

READS = 2


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
