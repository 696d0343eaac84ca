"""Migrates a store of an earlier schema: numbered steps over the journal, in batches.

The meta record keeps the step and its position. Each call can be sent twice, and several migrations can run at
once: a position only moves on from where the caller was. Engines of the earlier version close at their next
look, because the incarnation changes; a migration of a server waits until the last of their calls has ended.
"""

import asyncio
import logging
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from technopay.engine.commands import Command
from technopay.engine.errors import InternalError, StoreUnfit
from technopay.engine.values import JournalEntry, Position
from technopay.storage.audit.auditor import audit
from technopay.storage.commands import (
    AdvanceMigration,
    BeginMigration,
    MigrateLimits,
    MigratePayments,
    MigrateReferences,
    ReadMeta,
    ReadReferences,
)
from technopay.storage.partition import Partition
from technopay.storage.partitions import Partitions
from technopay.storage.schema import (
    MIGRATING,
    RAISED,
    SCHEMA,
    is_migratable,
    is_raised,
    new_incarnation,
    next_incarnation,
)

logger = logging.getLogger(__name__)

READ_MAX = 1_000
"""Entries of the journal that are read at a time; the position is kept behind them."""
BATCH_MAX = 100
"""Records that one script changes: it holds up all others."""
REPORTED_MAX = 20
BEGINNING = "0-0"

Step = Callable[[Partition, Sequence[JournalEntry]], Awaitable[None]]


async def migrate(first: Partition, meta: Mapping[str, str], *, wait_s: float) -> None:
    """Bring a store with this meta record to the present schema."""
    if is_raised(meta):
        await _raise_schema(Partitions(first, int(meta["partitions"])), wait_s=wait_s)
    else:
        await _migrate(first, meta["schema"], wait_s=wait_s)


async def _migrate(partition: Partition, schema: str, *, wait_s: float) -> None:
    """Migrate a store of this schema, or go on where a migration was broken off; audit it; raise the schema.

    Raises:
        StoreUnfit: another store is there now, or one that a later version migrates.

    """
    meta = await _run(partition, BeginMigration(schema, new_incarnation()))
    incarnation = meta.get("incarnation")
    if is_migratable(meta):
        logger.info("the store of schema %s is migrated to %s", meta.get("migrated_from"), SCHEMA)
        if wait_s:
            logger.info("engines of the earlier version have %g s to close", wait_s)
            await asyncio.sleep(wait_s)
    while meta.get("schema") != SCHEMA:
        if not meta.get("schema", "").startswith(MIGRATING) or meta.get("incarnation") != incarnation:
            raise StoreUnfit("the store was replaced while it was migrated; run `technopay migrate` again")
        meta = await _advance(partition, meta["schema"], meta.get("migration_position", BEGINNING))


async def _raise_schema(partitions: Partitions, *, wait_s: float) -> None:
    """Raise the schema of a store whose records are as they are now, or go on with that.

    An engine of schema 6 must not run beside one of 7: it would take the refund of a part for one of the whole.
    The first partition is last, so its meta record is about all of them.
    """
    first, *_ = partitions
    meta = (await first.run(ReadMeta())).value or {}
    incarnation = meta["incarnation"]
    following = next_incarnation(incarnation) if meta.get("schema") == RAISED else incarnation
    all_partitions = list(reversed(list(partitions)))
    for each in all_partitions:
        each.guard(None)
        if (await _run(each, BeginMigration(RAISED, following))).get("incarnation") != following:
            raise StoreUnfit(f"partition {each.number:02x} of the store is of another one; restore it")
    if wait_s:
        logger.info("engines of the earlier version have %g s to close", wait_s)
        await asyncio.sleep(wait_s)
    for each in all_partitions:
        await _run(each, AdvanceMigration(f"{MIGRATING}1", BEGINNING, SCHEMA, BEGINNING))


async def _advance(partition: Partition, schema: str, position: str) -> Mapping[str, str]:
    """Run a step over the next entries of the journal; return the meta record behind them."""
    number = schema.removeprefix(MIGRATING)
    step = STEPS.get(number)
    if step is None:
        raise StoreUnfit(f"a later version migrates the store: step {number} is not one of this program")
    if position == BEGINNING:
        logger.info("step %s of %d of the migration begins", number, len(STEPS))
    batch = await partition.read_journal(Position.of(position), READ_MAX)
    await step(partition, batch.entries)
    following = str(int(number) + 1)
    if not batch.is_last:
        behind = AdvanceMigration(schema, position, schema, str(batch.end))
    elif following in STEPS:
        behind = AdvanceMigration(schema, position, MIGRATING + following, BEGINNING)
    else:
        await _audit(partition)
        behind = AdvanceMigration(schema, position, SCHEMA, BEGINNING)
    return await _run(partition, behind)


async def _run(partition: Partition, command: Command[Mapping[str, str]]) -> Mapping[str, str]:
    return (await partition.run(command)).value or {}


async def _audit(partition: Partition) -> None:
    """Log what is wrong with the store, be it since the migration or since before."""
    logger.info("the migrated store is audited")
    differences = (await audit(Partitions(partition, 1))).differences
    for difference in differences[:REPORTED_MAX]:
        logger.warning(
            "the audit of the migrated store found a difference (%s): %s of %s is %s, not %s",
            difference.invariant,
            difference.what,
            difference.subject,
            difference.found,
            difference.expected,
        )
    if len(differences) > REPORTED_MAX:
        logger.warning("and %d more differences: run `technopay audit`", len(differences) - REPORTED_MAX)


async def _migrate_references(partition: Partition, entries: Sequence[JournalEntry]) -> None:
    """Key references by their normal form (NFC)."""
    for ids in _batches(entry.subject for entry in entries if entry.type == "invoice.created"):
        [found] = (await partition.run(ReadReferences(ids))).value or ([],)
        moves = [word for each in zip(ids, found, strict=True) for word in _move_of(*each)]
        [kept] = (await partition.run(MigrateReferences(moves))).value or ([],) if moves else ([],)
        for invoice_id, *other in [*kept, *(each for each in found if len(each) == 1)]:
            if other:
                logger.warning(
                    "invoices %s and %s of one merchant have the same reference in normal form (NFC); "
                    "both are kept: void the one that must not be paid",
                    invoice_id,
                    *other,
                )
            else:
                logger.error("invoice %s cannot be read; its reference is left as it is", invoice_id)


def _move_of(invoice_id: str, found: Sequence[str]) -> Sequence[str]:
    """Return what moves a reference to its normal form, see migrate_references.lua; nothing if it can stay."""
    if len(found) != 2:
        return ()
    merchant, reference = found
    payee, normal = unicodedata.normalize("NFC", merchant), unicodedata.normalize("NFC", reference)
    if (payee, normal) == (merchant, reference):
        return ()
    name, moved = (
        f"{len(payer.encode())}:{payer}{text}" for payer, text in ((merchant, reference), (payee, normal))
    )
    return name, moved, invoice_id, normal, "1" if payee != merchant else "0"


async def _migrate_payments(partition: Partition, entries: Sequence[JournalEntry]) -> None:
    for ids in _batches(entry.subject for entry in entries if entry.type == "payment.started"):
        for payment_id in (await partition.run(MigratePayments(ids))).value or []:
            logger.error("payment %s cannot be read; it is left as it is", payment_id)


async def _migrate_limits(partition: Partition, entries: Sequence[JournalEntry]) -> None:
    currencies = {entry.fields.get("currency", "") for entry in entries if entry.type == "payment.processing"}
    currencies |= {entry.subject for entry in entries if entry.type == "limit.set"}
    try:
        # To lift a limit that was never set has no entry.
        names: Iterable[str] = await partition.fetch("SMEMBERS", partition.keys.key("limits"))
        currencies |= {name for name in names if ":" not in name}
    except InternalError:
        logger.error("the set of limits cannot be read; it is left as it is")
    for batch in _batches(sorted(currencies - {""})):
        for currency in (await partition.run(MigrateLimits(batch))).value or []:
            logger.error("the limit of %s cannot be read; it is left as it is", currency)


def _batches(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    listed = list(ids)
    return (listed[first : first + BATCH_MAX] for first in range(0, len(listed), BATCH_MAX))


STEPS: Mapping[str, Step] = {"1": _migrate_references, "2": _migrate_payments, "3": _migrate_limits}
"""Their numbers are part of the schema of a store whose migration was broken off: a later version adds more."""
