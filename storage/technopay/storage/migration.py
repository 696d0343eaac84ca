"""Migrates a store of the schema before when it is opened. Each step can be sent twice, by several at once."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence

from technopay.storage.commands import Migrate
from technopay.storage.partition import Partition
from technopay.storage.server.health import SCHEMA, SCHEMA_BEFORE

logger = logging.getLogger(__name__)

SCANNED = 500
MOVED = 100
"""References that one script moves: it holds up all others."""


async def migrate(partition: Partition) -> None:
    """Key the references by their normal form (NFC), then raise the schema; after a crash it goes on."""
    cursor, references = "0", partition.keys.key("references")
    while True:
        cursor, flat = await partition.fetch("HSCAN", references, cursor, "COUNT", SCANNED)
        moves = [move for move in map(_move_of, flat[::2], flat[1::2]) if move]
        for first in range(0, len(moves), MOVED):
            words = [word for move in moves[first : first + MOVED] for word in move]
            (kept,) = (await partition.run(Migrate(SCHEMA_BEFORE, SCHEMA, words))).value or ((),)
            for invoice_id, other in kept:
                logger.warning(
                    "invoices %s and %s of one merchant have the same reference in normal form (NFC); "
                    "both are kept: void the one that must not be paid",
                    invoice_id,
                    other,
                )
        if str(cursor) == "0":
            break
    await partition.run(Migrate(SCHEMA_BEFORE, SCHEMA, ()))


def _move_of(name: str, invoice_id: str) -> Sequence[str] | None:
    """Return what `migrate.lua` needs to move a reference; None if it can stay."""
    length, _, rest = name.partition(":")
    try:
        split, text = int(length), rest.encode()
        merchant, reference = text[:split].decode(), text[split:].decode()
    except ValueError:
        logger.error("%r, of invoice %s, is no reference; it is left as it is", name, invoice_id)
        return None
    payee, normal = unicodedata.normalize("NFC", merchant), unicodedata.normalize("NFC", reference)
    if (payee, normal) == (merchant, reference):
        return None
    moved = f"{len(payee.encode())}:{payee}{normal}"
    return name, moved, invoice_id, normal, "1" if payee != merchant else "0"
