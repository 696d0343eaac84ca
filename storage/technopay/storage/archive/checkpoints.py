"""Checkpoints: what the journal of a partition amounts to at a position, behind which it can leave the store.

A checkpoint has the snapshot of a ledger as rows, and a digest of it, of the archived journal up to there, and
of the checkpoint before.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage.archive.archive import ORIGIN, Archive
from technopay.storage.archive.database import ArchiveUnfit, Change, Row
from technopay.storage.archive.rows import DIGEST_BYTES, JSON, ArchivePosition, entry_of, first_chain
from technopay.storage.audit.effects import apply
from technopay.storage.audit.ledger import Ledger
from technopay.storage.audit.snapshot import load, note_invoice, paying, recall, snapshot
from technopay.storage.records import UNREADABLE

Pause = Callable[[], Awaitable[None]]

BATCH = 250
"""Rows that are read or written at a time; other work of the loop runs between."""
REMOVED = 5_000
"""Rows that one transaction removes, at most, of each checkpoint."""
READ = (
    "SELECT entry_ms, entry_number, chain, entries, digest_before, digest FROM checkpoints WHERE partition = $1"
)
READ_ROWS = (
    "SELECT number, content FROM checkpoint_rows WHERE partition = $1 AND entry_ms = $2 AND entry_number = $3"
    " AND number > $4 ORDER BY number LIMIT $5"
)
ADD_ROWS = "INSERT INTO checkpoint_rows VALUES ($1, $2, $3, $4, $5)"
ADD = "INSERT INTO checkpoints VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
AT = "(entry_ms, entry_number)"
HISTORY_OF = (
    "SELECT * FROM events WHERE partition = $1 AND subject = $2 AND (entry_ms, entry_number) <= ($3, $4)"
    " ORDER BY entry_ms, entry_number"
)


NO_CHECKPOINT = (
    "the archive lacks the checkpoint of partition {:02x} at {}: it is older than its store, or of another one"
)


class Digest(Protocol):
    """A digest that is computed part by part."""

    def update(self, part: bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


class Checkpoint(NamedTuple):
    """A checkpoint: its last entry, the digest of the chain and the number of entries up to there."""

    position: Position
    chain: str
    entries: int
    digest_before: str
    digest: str


async def first_checkpoint(archive: Archive, partition: int) -> Checkpoint:
    """Return the checkpoint before the first entry, which has no rows."""
    chain = first_chain((await archive.read_meta())[ORIGIN], partition)
    return Checkpoint(BEGINNING, chain, 0, "", chain)


async def last_checkpoint(archive: Archive, partition: int) -> Checkpoint:
    """Read the last checkpoint of a partition."""
    rows = await archive.database.fetch(f"{READ} ORDER BY entry_ms DESC, entry_number DESC LIMIT 1", partition)
    return _checkpoint_of(rows[0]) if rows else await first_checkpoint(archive, partition)


async def read_checkpoints(archive: Archive, partition: int) -> Sequence[Checkpoint]:
    """Read all checkpoints of a partition, in order."""
    rows = await archive.database.fetch(f"{READ} ORDER BY entry_ms, entry_number", partition)
    return [_checkpoint_of(row) for row in rows]


async def read_checkpoint(archive: Archive, partition: int, position: Position, digest: str) -> Checkpoint:
    """Read the checkpoint at a position.

    Raises:
        ArchiveUnfit: there is none with this digest.

    """
    rows = await archive.database.fetch(
        f"{READ} AND entry_ms = $2 AND entry_number = $3 AND digest = $4", partition, *position, digest
    )
    if not rows:
        raise ArchiveUnfit(NO_CHECKPOINT.format(partition, position))
    return _checkpoint_of(rows[0])


async def has_checkpoint(archive: Archive, partition: int, position: Position, digest: str) -> bool:
    """Whether there is a checkpoint at a position with this digest."""
    try:
        await read_checkpoint(archive, partition, position, digest)
    except ArchiveUnfit:
        return False
    return True


async def load_checkpoint(archive: Archive, partition: int, checkpoint: Checkpoint, ledger: Ledger) -> None:
    """Load a checkpoint into an empty ledger.

    Raises:
        ArchiveUnfit: its digest does not follow from its rows.

    """
    if checkpoint.position == BEGINNING:
        return
    changed = f"the checkpoint of partition {partition:02x} at {checkpoint.position} was changed in the archive"
    digest = _first_digest(partition, checkpoint)
    async for rows in read_rows(archive, partition, checkpoint.position):
        texts = [text for _, text in rows]
        _add_to(digest, texts)
        try:
            load(ledger, [json.loads(text) for text in texts])
        except (*UNREADABLE, sqlite3.Error) as error:
            raise ArchiveUnfit(changed) from error
    if digest.hexdigest() != checkpoint.digest:
        raise ArchiveUnfit(changed)


async def apply_entries(
    archive: Archive, partition: int, ledger: Ledger, entries: Iterable[JournalEntry], loaded: Position
) -> None:
    """Apply the next entries to a ledger that was loaded from the checkpoint at a position.

    A payment that ended before it is recalled when it is refunded.
    """
    for each in entries:
        if each.type == "payment.refunding" and ledger.record("payment", each.subject) is None:
            rows = await archive.database.fetch(HISTORY_OF, partition, each.subject, *loaded)
            recall(ledger, each.subject, [entry_of(row) for row in rows])
        apply(ledger, each)


async def go_on() -> None:
    """Pause for no time."""


async def note_invoices(archive: Archive, partition: int, ledger: Ledger, pause: Pause = go_on) -> None:
    """Note in a ledger which invoices were paid, for its snapshot.

    Raises:
        ArchiveUnfit: a payment is not in the archive.

    """
    for ids in paying(ledger, BATCH):
        found = await archive.read_invoices_of(partition, ids)
        for payment_id in ids:
            if payment_id not in found:
                raise ArchiveUnfit(f"the payment {payment_id} is not archived: it could not be read")
            note_invoice(ledger, payment_id, found[payment_id])
        await pause()


async def add_checkpoint(
    archive: Archive, partition: int, ledger: Ledger, before: Checkpoint, end: ArchivePosition, pause: Pause
) -> Checkpoint | None:
    """Add the checkpoint at the position of a ledger; return None if another process added one meanwhile.

    Its rows are read back before it is added.

    Raises:
        ArchiveUnfit: the archive does not have the rows that were committed, or not a payment of the journal.

    """
    await note_invoices(archive, partition, ledger, pause)
    checkpoint = Checkpoint(*end, before.digest, "")
    await _remove_rows(archive, partition, f"{AT} = ($2, $3)", end.position)
    number, digest = 0, _first_digest(partition, checkpoint)
    async for texts in texts_of(ledger):
        _add_to(digest, texts)
        rows = [(partition, *end.position, number + place, text) for place, text in enumerate(texts, 1)]
        await archive.database.write([Change(ADD_ROWS, rows)])
        number += len(texts)
        await pause()
    kept = _first_digest(partition, checkpoint)
    async for found in read_rows(archive, partition, end.position):
        _add_to(kept, (text for _, text in found))
    if kept.digest() != digest.digest():
        raise ArchiveUnfit(f"the archive lost rows of a checkpoint at {end.position} after their commit")
    checkpoint = checkpoint._replace(digest=digest.hexdigest())
    added = (partition, *end.position, end.entries, end.chain, before.digest, checkpoint.digest)
    is_added = await archive.database.write([Change(ADD, [added], is_condition=True)])
    return checkpoint if is_added else None


async def follows(archive: Archive, partition: int, ledger: Ledger, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is the one at the position of a ledger."""
    await note_invoices(archive, partition, ledger)
    digest = _first_digest(partition, checkpoint)
    async for texts in texts_of(ledger):
        _add_to(digest, texts)
    return digest.hexdigest() == checkpoint.digest


async def remove_rows_before(archive: Archive, partition: int, position: Position) -> None:
    """Remove the rows of the checkpoints before a position; their digests stay."""
    await _remove_rows(archive, partition, f"{AT} < ($2, $3)", position)


async def _remove_rows(archive: Archive, partition: int, condition: str, position: Position) -> None:
    last = f"SELECT max(number) FROM checkpoint_rows WHERE partition = $1 AND {condition}"  # noqa: S608
    remove = (
        f"DELETE FROM checkpoint_rows WHERE partition = $1 AND {condition} AND number > $4 AND number <= $5"  # noqa: S608
    )
    ((count,),) = await archive.database.fetch(last, partition, *position)
    for first in range(0, count or 0, REMOVED):
        await archive.database.write([Change(remove, [(partition, *position, first, first + REMOVED)])])


async def read_rows(archive: Archive, partition: int, position: Position) -> AsyncIterator[Sequence[Row]]:
    """Read the rows of a checkpoint in batches, each with its number."""
    last = 0
    while rows := await archive.database.fetch(READ_ROWS, partition, *position, last, BATCH):
        yield rows
        last = rows[-1][0]


async def texts_of(ledger: Ledger) -> AsyncIterator[Sequence[str]]:
    """Return the rows of a snapshot as texts, in batches.

    A thread finds them, so that the event loop does not wait.
    """
    batches = snapshot(ledger, BATCH)
    while batch := await asyncio.to_thread(next, batches, None):
        yield [JSON.encode(row) for row in batch]


def _first_digest(partition: int, checkpoint: Checkpoint) -> Digest:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    position, chain, entries, before, _ = checkpoint
    _add_to(digest, (before, str(partition), str(position), str(entries), chain))
    return digest


def _add_to(digest: Digest, texts: Iterable[str]) -> None:
    for text in texts:
        digest.update(text.encode() + b"\n")


def _checkpoint_of(row: Row) -> Checkpoint:
    entry_ms, entry_number, *rest = row
    return Checkpoint(Position(entry_ms, entry_number), *rest)
