"""Migrates a store of an earlier schema: numbered steps in batches, whose position is kept.

Each batch can be sent twice, by several migrations at once. Engines of the earlier version close at their next
look, because the incarnation changes; a migration of a server waits until the last of their calls has ended.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence

from technopay.engine.values import JournalEntry, Position
from technopay.storage.audit.auditor import audit
from technopay.storage.commands import (
    AuditInvoices,
    BeginMigration,
    MigrateLimits,
    MigratePayments,
    MigrateReferences,
    RecordMigration,
)
from technopay.storage.partition import Partition
from technopay.storage.records import UNREADABLE, fields_of
from technopay.storage.schema import MIGRATING, SCHEMA

logger = logging.getLogger(__name__)

READ_MAX = 1_000
"""Entries of the journal that are read at a time."""
BATCH_MAX = 100
"""Records that one script changes: it holds up all others."""

Step = Callable[[Partition, Sequence[JournalEntry]], Awaitable[None]]


async def migrate(partition: Partition, *, wait_s: float) -> None:
    """Migrate a store, or go on where a migration was broken off; audit it; raise the schema."""
    meta = (await partition.run(BeginMigration(secrets.token_hex(8)))).value or {}
    await asyncio.sleep(wait_s)
    first = int(meta["schema"].removeprefix(MIGRATING))
    logger.info("the store of schema %s is migrated to %s from step %d", meta["migrated_from"], SCHEMA, first)
    position = Position.of(meta["migration_position"])
    for number, step in enumerate(STEPS, 1):
        if number >= first:
            await _run(partition, number, step, position)
            position = Position(0, 0)
    found = await audit(partition)
    for difference in found.differences:
        logger.warning("the audit of the migrated store found: %s", difference)
    await partition.run(RecordMigration(SCHEMA, "0-0"))


async def _run(partition: Partition, number: int, step: Step, position: Position) -> None:
    """Run a step over the journal, in which every record has its entries."""
    while True:
        await partition.run(RecordMigration(f"{MIGRATING}{number}", str(position)))
        batch = await partition.read_journal(position, READ_MAX)
        await step(partition, batch.entries)
        if batch.is_last:
            return
        position = batch.end


async def _migrate_references(partition: Partition, entries: Sequence[JournalEntry]) -> None:
    """Key references by their normal form (NFC)."""
    ids = [entry.subject for entry in entries if entry.type == "invoice.created"]
    for first in range(0, len(ids), BATCH_MAX):
        batch = ids[first : first + BATCH_MAX]
        _, found = (await partition.run(AuditInvoices(batch))).value or ((), ())
        moves = [move for each in zip(batch, found, strict=True) if (move := _move_of(*each))]
        (kept,) = (await partition.run(MigrateReferences([word for move in moves for word in move]))).value or (
            (),
        )
        for invoice_id, other in kept:
            logger.warning(
                "invoices %s and %s of one merchant have the same reference in normal form (NFC); "
                "both are kept: void the one that must not be paid",
                invoice_id,
                other,
            )


async def _migrate_payments(partition: Partition, entries: Sequence[JournalEntry]) -> None:
    ids = [entry.subject for entry in entries if entry.type == "payment.started"]
    for first in range(0, len(ids), BATCH_MAX):
        unreadable = (await partition.run(MigratePayments(ids[first : first + BATCH_MAX]))).value or []
        for payment_id in unreadable:
            logger.error("payment %s cannot be read; it is left as it is", payment_id)


async def _migrate_limits(partition: Partition, entries: Sequence[JournalEntry]) -> None:
    currencies = {entry.fields["currency"] for entry in entries if entry.type == "payment.processing"}
    currencies |= {entry.subject for entry in entries if entry.type == "limit.set"}
    await partition.run(MigrateLimits(sorted(currencies)))


STEPS: Sequence[Step] = (_migrate_references, _migrate_payments, _migrate_limits)
"""Their numbers, from 1, are part of the schema of a store whose migration was broken off."""


def _move_of(invoice_id: str, found: Sequence[Sequence[str]]) -> Sequence[str] | None:
    """Return what moves a reference to its normal form; None if it can stay."""
    try:
        invoice: Mapping[str, str] = fields_of(found[0])
    except UNREADABLE:
        return None
    merchant, reference = invoice.get("merchant"), invoice.get("reference")
    if not merchant or not reference or "referred" in invoice:
        return None
    payee, normal = unicodedata.normalize("NFC", merchant), unicodedata.normalize("NFC", reference)
    if (payee, normal) == (merchant, reference):
        return None
    name, moved = (
        f"{len(payer.encode())}:{payer}{text}" for payer, text in ((merchant, reference), (payee, normal))
    )
    return name, moved, invoice_id, normal, "1" if payee != merchant else "0"
