"""Copies the journal of a store to its archive, in order and at least once, beside payments; then trims it.

The position in the archive decides where to go on: it moves in the transaction that adds the entries. The store
records it afterwards: for the lag, and to recognise an archive of another history.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from technopay.engine.background import Loop, PartitionTasks
from technopay.engine.errors import ArchiveUnavailable, Fault
from technopay.engine.outage_log import OutageLog
from technopay.engine.system import SystemClock
from technopay.engine.values import BEGINNING, JournalEntry, Position
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.commands import ClaimArchive, ReadRecords, RecordArchived
from technopay.storage.archive.database import ArchiveUnfit
from technopay.storage.archive.history import Trimmed
from technopay.storage.archive.rows import ArchivePosition, Record, event_row
from technopay.storage.archive.trimmer import KEEP_DAYS, Trimmer
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
BUSY_PAUSE_S = 0.2
BUSY_S_MAX = 40.0
"""How long a run waits for another process, whose claim ends before that."""


class Claim(NamedTuple):
    """The claim of a partition's archive, and what the store recorded of it before."""

    token: str
    recorded_to: Position
    chain: str
    trimmed_to: Position
    """Entries up to here left the store."""

    @classmethod
    def of(cls, token: str, recorded_to: str, chain: str, trimmed_to: str) -> "Claim":
        """Return a claim; what the store did not record is empty."""
        recorded, trimmed = (Position.of(each or str(BEGINNING)) for each in (recorded_to, trimmed_to))
        return cls(token, recorded, chain, trimmed)


class Archiver:
    """Archives the partitions of a store. `async with` runs it in the background.

    Any number of processes can run one: each partition is claimed by one of them at a time.
    """

    def __init__(
        self,
        partitions: Sequence[Partition],
        meta: Mapping[str, str],
        archive: Archive,
        keep_days: int = KEEP_DAYS,
    ) -> None:
        self._partitions = partitions
        self._meta = meta
        self._archive = archive
        self._owner = secrets.token_hex(8)
        self._outage = OutageLog(logger, "nothing is archived; payments go on", "the history is archived again")
        self._failing: set[int] = set()
        self._clock = SystemClock()
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._tasks = PartitionTasks("the archiver", self._archive_beside_payments)
        self._loop = Loop("the archiver", self._step, INTERVAL_S, self._clock)
        self._trimmer = Trimmer(partitions, archive, keep_days, self._clock)

    async def __aenter__(self) -> Self:
        self._loop.start()
        self._trimmer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await self._trimmer.stop(DRAIN_S)
        await self._loop.stop(DRAIN_S)
        await self._tasks.stop(DRAIN_S)

    async def run(self) -> int:
        """Archive all that is in the store now, then trim it; return how many entries were added.

        Raises:
            ArchiveUnavailable, StoreUnavailable: some entries may have been added.
            ArchiveUnfit: the archive is of another store, or differs from it.

        """
        await self.begin()
        ends = [await each.read_end() for each in self._partitions]
        added, waited_s = 0, 0.0
        while True:
            turns = [self._archive_partition(each.number) for each in self._partitions]
            more = sum(await asyncio.gather(*turns))
            added += more
            archived = await self._archive.read_positions()
            if all(archived[number].position >= end for number, end in enumerate(ends)):
                break
            waited_s = 0.0 if more else waited_s + BUSY_PAUSE_S
            if waited_s > BUSY_S_MAX:
                raise ArchiveUnavailable("The archive: another process has claimed it and adds nothing")
            await self._clock.sleep(0.0 if more else BUSY_PAUSE_S)
        await self._trimmer.run()
        return added

    async def begin(self) -> None:
        """Open the archive, a new one too, and compare it with the store.

        Raises:
            ArchiveUnavailable, StoreUnavailable: one of them cannot be reached.
            ArchiveUnfit: it is of another store, or differs from it.

        """
        await self._archive.bind(self._meta)
        await self.compare()
        await self._archive.follow(self._meta)

    async def compare(self) -> None:
        """Compare the end of the archive, which is open, with the store.

        Raises:
            ArchiveUnfit: it differs.

        """
        archived = await self._archive.read_positions()
        for partition in self._partitions:
            position = archived[partition.number]
            record = partition.keys.key("archive")
            recorded = await partition.fetch("HMGET", record, "archived_to", "chain", "trimmed_to")
            claim = Claim.of("", *(each or "" for each in recorded))
            self._require_all(partition.number, position, claim)
            await self._read_entries(partition, position, 0)
            await self._require_recorded(partition.number, position, claim)

    async def read_ends(self) -> Mapping[int, Position]:
        """Return the ends of the journals."""
        return {each.number: await each.read_end() for each in self._partitions}

    async def read_trimmed(self) -> Mapping[int, Trimmed]:
        """Return up to which entries history left the partitions of the store."""
        found = [await each.read_trimmed() for each in self._partitions]
        return {each.partition: each for each in found if each is not None}

    async def _step(self) -> bool:
        """Archive some entries of each partition; return whether there may be more."""
        if len(self._partitions) == 1:
            return await self._archive_beside_payments(0) > 0
        return sum((await self._tasks.run(range(len(self._partitions)))).values()) > 0

    async def _archive_beside_payments(self, number: int) -> int:
        """Archive some entries of a partition, in a part of the time; log why it cannot be."""
        try:
            await self._archive.bind(self._meta)
            added = await self._archive_partition(number, rests=True)
        except (ArchiveUnavailable, ArchiveUnfit) as error:
            self._outage.fail(str(error))
            if number not in self._failing:
                self._failing.add(number)
                await self._mark_as_wanted(number)
            return 0
        self._failing.discard(number)
        if not self._failing:
            self._outage.end()
        return added

    async def _mark_as_wanted(self, number: int) -> None:
        """Leave a claim behind, from which on the store shows for how long its entries have waited."""
        claimed = await self._partitions[number].run(ClaimArchive(number, self._owner, ""))
        if claimed.code == "ok":
            await self._partitions[number].run(RecordArchived(number, claimed.token))

    async def _archive_partition(self, number: int, *, rests: bool = False) -> int:
        """Archive some entries of a partition, unless another process does; return how many were added."""
        partition = self._partitions[number]
        position = await self._archive.read_position(number)
        claimed = await partition.run(ClaimArchive(number, self._owner, str(position.position)))
        if claimed.code != "ok":
            return 0
        claim = Claim.of(claimed.token, *(claimed.value or ("", "", "")))
        try:
            return await self._copy(partition, position, claim, rests=rests)
        finally:
            with suppress(Fault):  # it ends by itself
                await partition.run(RecordArchived(number, claim.token))

    async def _copy(self, partition: Partition, position: ArchivePosition, claim: Claim, *, rests: bool) -> int:
        """Copy batches behind a position of the archive; return how many entries were added."""
        number, added = partition.number, 0
        self._require_all(number, position, claim)
        await self._require_recorded(number, position, claim)
        for _ in range(BATCHES):
            if position.position > claim.recorded_to and not await self._record(number, claim, position):
                return added
            # One partition at a time holds a batch in memory, and takes the time from payments.
            async with self._turn:
                began_s = self._clock.monotonic()
                entries = await self._read_entries(partition, position, BATCH, claim.recorded_to)
                if not entries:
                    return added
                records = await self._read_records(partition, entries)
                moved = await self._archive.append(number, entries, records, position)
                if moved is None:
                    return added  # another process archived them, which took over the claim
                if moved.position == claim.recorded_to:
                    await self._require_recorded(number, moved, claim)
                added, position = added + len(entries), moved
                if rests:
                    await self._rest(REST * (self._clock.monotonic() - began_s))
            if self._stopping.is_set():
                break
        await self._record(number, claim, position)
        return added

    async def _rest(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(min(delay_s, REST_S_MAX)):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _record(self, number: int, claim: Claim, position: ArchivePosition) -> bool:
        """Record a later position in the store; return whether the claim is still ours."""
        if position.position <= claim.recorded_to:
            return True
        recorded = RecordArchived(number, claim.token, str(position.position), position.chain)
        return (await self._partitions[number].run(recorded)).code == "ok"

    async def _read_entries(
        self,
        partition: Partition,
        after: ArchivePosition,
        limit: int,
        recorded_to: Position = BEGINNING,
    ) -> Sequence[JournalEntry]:
        """Read the entries behind a position of the archive, up to the recorded one if it is behind that.

        They are read together with the last archived one, so they are of the same history; and as they are: one
        that cannot be read must not be left out.

        Raises:
            ArchiveUnfit: the store does not have the last archived entry, or has another one there.

        """
        position, is_first = after.position, after.position == BEGINNING
        until = str(recorded_to) if position < recorded_to else "+"
        count = limit + (0 if is_first else 1)
        if not count:
            return []
        words = ("XRANGE", partition.keys.journal, str(position), until, "COUNT", count)
        entries = [entry_of(raw) for raw in await partition.fetch(*words)]
        if is_first:
            return entries
        if not entries or entries[0].id != str(position):
            raise ArchiveUnfit(await self._missing(partition, position))
        kept = await self._archive.read_event(partition.number, position)
        if kept is None or kept[:7] != event_row(partition.number, entries[0], "")[:7]:
            raise ArchiveUnfit(
                f"entry {position} of partition {partition.number:02x} differs in the store and its archive"
            )
        if kept[-1] != after.chain:
            raise ArchiveUnfit(f"the archive of partition {partition.number:02x} has another chain at its end")
        return entries[1:]

    async def _missing(self, partition: Partition, position: Position) -> str:
        end = await partition.read_end()
        age = "older than" if end < position else "another one than"
        return (
            f"partition {partition.number:02x} of the store ends at {end} and has no entry {position}, "
            f"which is archived: it is {age} its archive; was it restored from a backup?"
        )

    def _require_all(self, number: int, archived: ArchivePosition, claim: Claim) -> None:
        """Raise ArchiveUnfit if the archive lacks entries that left the store."""
        if archived.position < claim.trimmed_to:
            raise ArchiveUnfit(
                f"the archive of partition {number:02x} ends at {archived.position}, but the entries up to "
                f"{claim.trimmed_to} left the store: restore a newer copy of the archive"
            )

    async def _require_recorded(self, number: int, archived: ArchivePosition, claim: Claim) -> None:
        """Raise ArchiveUnfit if the archive has another chain at the entry that the store recorded."""
        recorded = claim.recorded_to
        if not claim.chain or archived.position < recorded:
            return
        kept = await self._archive.read_event(number, recorded)
        if kept is None or kept[-1] != claim.chain:
            raise ArchiveUnfit(
                f"the archive of partition {number:02x} has another history up to {recorded} than the store "
                "recorded"
            )

    async def _read_records(self, partition: Partition, entries: Iterable[JournalEntry]) -> Sequence[Record]:
        """Read the payments and invoices that entries are about, as they are now."""
        subjects = dict.fromkeys(each.subject for each in entries)
        payments = await self._read(partition, [each for each in subjects if each.startswith("pay_")])
        invoices = dict.fromkeys(each for each in subjects if each.startswith("inv_"))
        # The state of an invoice follows from its payment.
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
