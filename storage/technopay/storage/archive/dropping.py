"""Lets payments and invoices leave a store that ended before the checkpoint of its journal.

What stays is the digest of each reference that was used: it is settled in its home before the invoice leaves.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from technopay.engine.values import JournalEntry, Position
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.commands import DropRecords, SettleReferences
from technopay.storage.archive.history import is_ended, is_paid
from technopay.storage.archive.rows import entry_of
from technopay.storage.creations import home_of_reference
from technopay.storage.partition import Partition
from technopay.storage.references import reference_digest, referred_as

BATCH = 250
"""Archived entries that are read at a time."""
DROPPED = 50
"""Records that leave the store at a time: all scripts wait for them."""
ENDING = frozenset(
    {
        "payment.succeeded", "payment.failed", "payment.refunded", "payment.partially_refunded",
        "payment.refund_failed", "invoice.voided",
    }
)  # fmt: skip
"""The entries after which a record can have ended."""

Records = Mapping[str, Mapping[str, str]]
Pause = Callable[[], Awaitable[None]]


class Dropping:
    """Drops the records of one partition, under the claim of its journal."""

    def __init__(
        self, partitions: Sequence[Partition], archive: Archive, partition: Partition, claim: str
    ) -> None:
        self._partitions = partitions
        self._archive = archive
        self._partition = partition
        self._claim = claim

    async def drop(self, after: Position, until: Position, pause: Pause) -> None:
        """Drop what ended in the entries after a position, up to that of the checkpoint."""
        position = after
        while rows := await self._archive.read_events(self._partition.number, position, BATCH, until):
            entries = [entry_of(row) for row in rows]
            records = await self._find_ended(entries)
            await self._settle_references(records)
            if not await self._drop(records, position):
                return
            position = Position.of(entries[-1].id)
            await pause()
        await self._drop({}, until)

    async def _find_ended(self, entries: Sequence[JournalEntry]) -> Records:
        """Read the records that entries ended, unless they changed since, with the invoices that were paid."""
        number = self._partition.number
        last = {each.subject: each for each in entries if each.type in ENDING}
        found = await self._archive.read_records(number, list(last))
        ended = {
            name: fields
            for name, fields in found.items()
            if is_ended(name, fields)
            and (name.startswith("inv_") or fields["version"] == str(last[name].version))
        }
        paid = [fields["invoice"] for name, fields in ended.items() if is_paid(name, fields)]
        return {**ended, **await self._archive.read_records(number, paid)}

    async def _settle_references(self, records: Records) -> None:
        """Settle the references of invoices in their homes."""
        settled: defaultdict[int, list[str]] = defaultdict(list)
        for name, fields in records.items():
            if name.startswith("inv_") and "reference" in fields:
                home = home_of_reference(self._partitions, fields["merchant"], fields["reference"])
                referred = fields.get("referred") or referred_as(fields["merchant"], fields["reference"])
                digest = reference_digest(home.reference_key, referred)
                settled[home.number] += [name, referred, digest, "1" if is_paid(name, fields) else "0"]
        for number, references in settled.items():
            await self._partitions[number].run(SettleReferences(references))

    async def _drop(self, records: Records, dropped_to: Position) -> bool:
        """Drop records; a paid invoice leaves with its payment. Return whether the claim is current."""
        words = [
            (name, fields.get("version", ""))
            for name, fields in records.items()
            if not (name.startswith("inv_") and is_paid(name, fields))
        ]
        number, is_ours = self._partition.number, True
        for first in range(0, max(len(words), 1), DROPPED):
            names = [word for each in words[first : first + DROPPED] for word in each]
            command = DropRecords(number, self._claim, str(dropped_to), names)
            is_ours = is_ours and (await self._partition.run(command)).code == "ok"
        return is_ours
