"""Proves checkpoints: each is what the archived history up to its position amounts to."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from technopay.engine.models import Difference
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.checkpoints import (
    Checkpoint,
    first_checkpoint,
    follows,
    read_checkpoints,
    read_rows,
    texts_of,
)
from technopay.storage.archive.database import ArchiveUnfit, Row
from technopay.storage.archive.history import Trimmed
from technopay.storage.archive.rows import ArchivePosition
from technopay.storage.audit.invariants import differ
from technopay.storage.audit.ledger import Ledger

CHECKPOINT = "checkpoints_follow_from_history"
"""A checkpoint has the digest of the history up to it, of its rows, and of the checkpoint before."""


class CheckpointProof:
    """The checkpoints of one partition, each proved when a ledger is at its position."""

    def __init__(self, archive: Archive, partition: int, trimmed: Trimmed | None) -> None:
        self._archive = archive
        self._partition = partition
        self._trimmed = trimmed
        """The checkpoint that the store has, if that is known and there is one."""
        self._before: Checkpoint | None = None

    async def read(self) -> tuple[Sequence[Checkpoint], list[Difference]]:
        """Return the checkpoints in order, and a difference if that of the store is not one of them."""
        found = await read_checkpoints(self._archive, self._partition)
        if self._trimmed is None:
            return found, []
        _, position, digest = self._trimmed
        if any((each.position, each.digest) == (position, digest) for each in found):
            return found, []
        kept = next((each.digest for each in found if each.position == position), "none")
        return found, [
            differ(CHECKPOINT, self._name(position), "digest", f"{digest}, as the store has it", kept)
        ]

    async def prove(
        self, checkpoint: Checkpoint, folded: ArchivePosition, ledger: Ledger, *, is_last: bool
    ) -> Sequence[Difference]:
        """Return what differs between a checkpoint and the ledger, which was folded up to its position."""
        before = self._before or await first_checkpoint(self._archive, self._partition)
        self._before, name = checkpoint, self._name(checkpoint.position)
        facts = {
            "last entry": (folded.position, checkpoint.position),
            "chain": (folded.chain, checkpoint.chain),
            "entries": (folded.entries, checkpoint.entries),
            "digest_before": (before.digest, checkpoint.digest_before),
        }
        differences = list(_differences(name, facts))
        try:
            if not await follows(self._archive, self._partition, ledger, checkpoint):
                differences.append(differ(CHECKPOINT, name, "digest", "one that follows", checkpoint.digest))
        except ArchiveUnfit as error:
            differences.append(differ(CHECKPOINT, name, "digest", "one that can be computed", error))
            return differences
        is_needed = is_last or (self._trimmed is not None and self._trimmed.to == checkpoint.position)
        return [*differences, *await self._compare_rows(checkpoint, ledger, is_needed=is_needed)]

    async def _compare_rows(
        self, checkpoint: Checkpoint, ledger: Ledger, *, is_needed: bool
    ) -> list[Difference]:
        """Return the first row that is not that of the ledger; rows leave a checkpoint that is not needed."""
        name, number = self._name(checkpoint.position), 0
        kept = _one_by_one(read_rows(self._archive, self._partition, checkpoint.position))
        row = await anext(kept, None)
        async for texts in texts_of(ledger):
            for text in texts:
                number += 1
                if row is not None and row[0] == number:
                    if row[1] != text:
                        return [differ(CHECKPOINT, name, f"row {number}", text, row[1])]
                    row = await anext(kept, None)
                elif is_needed:
                    return [differ(CHECKPOINT, name, f"row {number}", text, "none")]
        return [differ(CHECKPOINT, name, f"row {row[0]}", "none", row[1])] if row is not None else []

    def _name(self, position: object) -> str:
        return f"checkpoint {position} of partition {self._partition:02x}"


async def _one_by_one(batches: AsyncIterator[Sequence[Row]]) -> AsyncIterator[Row]:
    async for batch in batches:
        for row in batch:
            yield row


def _differences(name: str, facts: Mapping[str, tuple[object, object]]) -> Iterator[Difference]:
    for what, (expected, found) in facts.items():
        if expected != found:
            yield differ(CHECKPOINT, name, what, expected, found)
