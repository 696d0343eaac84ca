"""Copies the journal of a store to its archive, in order and at least once, beside payments.

The position in the archive decides where to go on: it moves in the transaction that adds the entries. The store
records it afterwards, for those that only have the store.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from technopay.engine.background import Loop, PartitionTasks
from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.outage_log import OutageLog
from technopay.engine.system import SystemClock
from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import ArchiveUnfit
from technopay.storage.archive.rows import ArchivePosition, Record, event_rows
from technopay.storage.commands import ClaimArchive, ReadRecords, RecordArchived
from technopay.storage.journal import entry_of
from technopay.storage.partition import Partition
from technopay.storage.records import UNREADABLE, fields_of

logger = logging.getLogger(__name__)

BATCH = 250
"""Entries that are copied at a time: the event loop waits for their rows to be built."""
BATCHES = 20
"""Batches of one partition in one step."""
REST = 9.0
"""How much longer than a batch the rest behind it is: an archiver takes a tenth of the time from payments."""
REST_S_MAX = 2.0
INTERVAL_S = 5.0
DRAIN_S = 15.0


class Archiver:
    """Archives the partitions of a store. `async with` runs it in the background.

    Any number of processes can run one: each partition is claimed by one of them at a time.
    """

    def __init__(self, partitions: Sequence[Partition], meta: Mapping[str, str], archive: Archive) -> None:
        self._partitions = partitions
        self._meta = meta
        self._archive = archive
        self._owner = secrets.token_hex(8)
        self._outage = OutageLog(logger, "nothing is archived; payments go on", "the history is archived again")
        self._clock = SystemClock()
        self._turn = asyncio.Lock()
        self._tasks = PartitionTasks("the archiver", self._archive_beside_payments)
        self._loop = Loop("the archiver", self._step, INTERVAL_S, self._clock)

    async def __aenter__(self) -> Self:
        self._loop.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loop.stop(DRAIN_S)
        await self._tasks.stop(DRAIN_S)

    async def run(self) -> int:
        """Archive all that is in the store now; return how many entries were added.

        Raises:
            ArchiveUnavailable, StoreUnavailable: some entries may have been added.
            ArchiveUnfit: the archive is of another store, or differs from it.

        """
        added = 0
        while True:
            turns = [self._archive_partition(each.number) for each in self._partitions]
            if not (more := sum(await asyncio.gather(*turns))):
                return added
            added += more

    async def compare(self) -> None:
        """Compare the end of the archive with the store.

        Raises:
            ArchiveUnfit: it is of another store, or differs from it.

        """
        await self._archive.bind(self._meta)
        for partition in self._partitions:
            archived = await self._archive.read_position(partition.number)
            await self._require_same_history(partition, archived)
            recorded, chain = await partition.fetch(
                "HMGET", partition.keys.key("archive"), "archived_to", "chain"
            )
            if recorded == str(archived.position) and chain != archived.chain:
                raise ArchiveUnfit(_other_history(partition.number, recorded))

    async def _step(self) -> bool:
        """Archive some entries of each partition; return whether there may be more."""
        if len(self._partitions) == 1:
            return await self._archive_beside_payments(0) > 0
        return sum((await self._tasks.run(range(len(self._partitions)))).values()) > 0

    async def _archive_beside_payments(self, number: int) -> int:
        """Archive some entries of a partition, in a part of the time; log why it cannot be."""
        try:
            added = await self._archive_partition(number, rests=True)
        except (ArchiveUnavailable, ArchiveUnfit) as error:
            self._outage.fail(str(error))
            return 0
        self._outage.end()
        return added

    async def _archive_partition(self, number: int, *, rests: bool = False) -> int:
        """Archive some entries of a partition, unless another process does; return how many were added."""
        partition = self._partitions[number]
        claimed = await partition.run(ClaimArchive(number, self._owner))
        if claimed.code != "ok":
            return 0
        recorded, chain = claimed.value or ("", "")
        recorded_to = Position.of(recorded) if recorded else BEGINNING
        await self._archive.bind(self._meta)
        position = await self._archive.read_position(number)
        await self._require_same_history(partition, position)
        added = 0
        for batch in range(BATCHES + 1):
            if position.position == recorded_to and chain and position.chain != chain:
                raise ArchiveUnfit(_other_history(number, recorded))
            if position.position > recorded_to and not await self._record(number, claimed.token, position):
                return added
            if batch == BATCHES:
                break
            # Up to the recorded entry, so that the chains are compared there.
            until = str(recorded_to) if position.position < recorded_to else "+"
            entries = await self._read_entries(partition, position.position, until)
            if not entries:
                await partition.run(RecordArchived(number, claimed.token))
                return added
            records = await self._read_records(partition, entries)
            moved = await self._append(number, entries, records, position, rests=rests)
            if moved is None:
                return added  # another process archived them, which took over the claim
            added += len(entries)
            position = moved
        return added

    async def _append(
        self,
        number: int,
        entries: Sequence[JournalEntry],
        records: Sequence[Record],
        position: ArchivePosition,
        *,
        rests: bool,
    ) -> ArchivePosition | None:
        """Append a batch, one at a time; then rest for a multiple of the time that it took."""
        async with self._turn:
            began_s = self._clock.monotonic()
            moved = await self._archive.append(number, entries, records, position)
            if rests:
                await self._clock.sleep(min(REST * (self._clock.monotonic() - began_s), REST_S_MAX))
        return moved

    async def _record(self, number: int, claim: str, position: ArchivePosition) -> bool:
        """Record the position in the store; return whether the claim is still ours."""
        recorded = RecordArchived(number, claim, str(position.position), position.chain)
        return (await self._partitions[number].run(recorded)).code == "ok"

    async def _read_entries(self, partition: Partition, after: Position, until: str) -> Sequence[JournalEntry]:
        """Read entries of the journal, as they are: one that cannot be read must not be left out."""
        words = ("XRANGE", partition.keys.journal, f"({after}", until, "COUNT", BATCH)
        return [entry_of(raw) for raw in await partition.fetch(*words)]

    async def _read_records(self, partition: Partition, entries: Iterable[JournalEntry]) -> Sequence[Record]:
        """Read the payments and invoices that entries are about, as they are now."""
        subjects = dict.fromkeys(each.subject for each in entries)
        payments = await self._read(partition, [each for each in subjects if each.startswith("pay_")])
        invoices = dict.fromkeys(each for each in subjects if each.startswith("inv_"))
        # What an invoice shows follows from its payment.
        invoices |= dict.fromkeys(each.fields["invoice"] for each in payments if "invoice" in each.fields)
        return [*payments, *await self._read(partition, list(invoices))]

    async def _read(self, partition: Partition, ids: Sequence[str]) -> Sequence[Record]:
        """Read records; one that was removed is left out, an unreadable one is logged, too."""
        if not ids:
            return []
        read_at, found = (await partition.run(ReadRecords(partition.number, ids))).value or ("", ())
        records = []
        for record_id, flat in zip(ids, found, strict=True):
            try:
                records.append(Record(record_id, fields_of(flat), Position.of(read_at)))
            except UNREADABLE:
                logger.error("the record %s cannot be archived: it cannot be read", record_id)
        return [each for each in records if each.fields]

    async def _require_same_history(self, partition: Partition, archived: ArchivePosition) -> None:
        """Raise ArchiveUnfit unless the store has the last archived entry, and has it as the archive does."""
        position = archived.position
        if position == BEGINNING:
            return
        found = await partition.fetch("XRANGE", partition.keys.journal, str(position), str(position))
        if not found:
            end = await partition.read_end()
            age = "older than" if end < position else "another one than"
            raise ArchiveUnfit(
                f"partition {partition.number:02x} of the store ends at {end} and has no entry {position}, "
                f"which is archived: it is {age} its archive; was it restored from a backup?"
            )
        kept = await self._archive.read_event(partition.number, position)
        (row,) = event_rows(partition.number, map(entry_of, found), archived.chain)
        if [tuple(each[:7]) for each in kept] != [row[:7]]:
            raise ArchiveUnfit(
                f"entry {position} of partition {partition.number:02x} differs in the store and its archive"
            )


def _other_history(number: int, entry: str) -> str:
    return f"the archive of partition {number:02x} has another history up to {entry} than its store recorded"
