"""Trims the journals of a store behind checkpoints in its archive, beside payments.

A checkpoint is computed from the archive, whose chain and books are verified on the way. Then entries leave the
store in small steps. The store decides at each step whether they can: not before they are archived, relayed,
read for webhooks, and older than the time for which they are kept.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

from technopay.engine.background import Loop
from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.models import Difference
from technopay.engine.outage_log import OutageLog
from technopay.engine.ports import Clock
from technopay.engine.values import BEGINNING, Position
from technopay.storage.archive.archive import LAST, Archive
from technopay.storage.archive.checkpoints import (
    NO_CHECKPOINT,
    Checkpoint,
    add_checkpoint,
    apply_entries,
    has_checkpoint,
    last_checkpoint,
    load_checkpoint,
    remove_rows_before,
)
from technopay.storage.archive.commands import ClaimTrim, TrimJournal
from technopay.storage.archive.database import ArchiveUnfit
from technopay.storage.archive.dropping import Dropping
from technopay.storage.archive.rows import ArchivePosition, entry_of, event_row, events_chain
from technopay.storage.audit.ledger import Ledger
from technopay.storage.journal import entry_of as entry_from
from technopay.storage.partition import Partition

logger = logging.getLogger(__name__)

KEEP_DAYS = 35
KEEP_DAYS_MIN = 7
DAY_MS = 86_400_000
BATCH = 100
"""Archived entries that are folded at a time: the event loop waits for them."""
TRIMMED = 500
"""Entries that leave the store at a time: all scripts wait for them."""
TRIM_PAUSE_S = 0.005
SCANNED = 1_000
"""Members of the agenda that are read at a time."""
INTERVAL_S = 600.0
REST = 9.0
REST_S_MAX = 2.0
RENEW_S = 5.0


class Trimmable(NamedTuple):
    """The claim of a journal that is trimmed, up to which entry it can be, and what the store recorded."""

    claim: str
    bound: Position
    archived_to: Position
    chain: str
    trimmed_to: Position
    checkpoint: str
    dropped_to: Position


class Trimmer:
    """Trims the partitions of a store. Any number of processes can run one: one at a time trims a partition."""

    def __init__(self, partitions: Sequence[Partition], archive: Archive, keep_days: int, clock: Clock) -> None:
        self._partitions = partitions
        self._archive = archive
        self._keep_ms = keep_days * DAY_MS
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._stopping = asyncio.Event()
        self._outage = OutageLog(logger, "no history leaves the store", "history leaves the store again")
        self._loop = Loop("the trimmer", self._step, INTERVAL_S, clock)

    def start(self) -> None:
        self._loop.start()

    async def stop(self, drain_s: float) -> None:
        self._stopping.set()
        await self._loop.stop(drain_s)

    async def run(self) -> None:
        """Trim all partitions now.

        Raises:
            ArchiveUnavailable, StoreUnavailable: some may have been trimmed.
            ArchiveUnfit: the archive differs from the store, or its books have differences.

        """
        for partition in self._partitions:
            await self._trim(partition, self._pause_briefly)

    async def _step(self) -> bool:
        try:
            for partition in self._partitions:
                if self._stopping.is_set():
                    return False
                await self._trim(partition, self._rest)
        except (ArchiveUnavailable, ArchiveUnfit) as error:
            self._outage.fail(str(error))
            return False
        self._outage.end()
        return False

    async def _trim(self, partition: Partition, rest: Callable[[float], Awaitable[None]]) -> None:
        """Add a checkpoint to the archive, if one is due, and trim the journal behind the last one."""
        number, trimmed = partition.number, await partition.read_trimmed()
        is_lost = trimmed is not None and not await has_checkpoint(self._archive, *trimmed)
        found = await self._claim(partition, is_wanted=is_lost)
        if found is None:
            return
        needed_ms = (await self._first_message(partition)).at_ms
        found = found._replace(bound=min(found.bound, Position(needed_ms - 1, LAST.number)))
        last = await last_checkpoint(self._archive, number)
        end = await self._due(number, last, found)
        if end is not None or last.position > found.trimmed_to:
            await self._require_same_history(partition, end or ArchivePosition(*last[:3]), found)
        if end is not None:
            added = await self._add_checkpoint(partition, last, end, rest)
            if added is None:
                return
            last = added
        can_trim = found.trimmed_to <= last.position <= found.bound and last.position > BEGINNING
        if can_trim and await self._remove_entries(partition, last, found):
            await self._drop_records(partition, last, found, rest)

    async def _due(self, number: int, last: Checkpoint, found: Trimmable) -> ArchivePosition | None:
        """Return the archived entry whose checkpoint is due, if one is.

        One that the store has, but not the archive, is computed anew: the archive was restored from a backup.
        """
        if found.trimmed_to > BEGINNING and not await has_checkpoint(
            self._archive, number, found.trimmed_to, found.checkpoint
        ):
            end = await self._archive.read_last_event(number, found.trimmed_to)
            if end is None or end.position != found.trimmed_to or last.position >= found.trimmed_to:
                raise ArchiveUnfit(NO_CHECKPOINT.format(number, found.trimmed_to))
            return end
        end = await self._archive.read_last_event(number, found.bound)
        return end if end is not None and end.position.at_ms - last.position.at_ms >= DAY_MS else None

    async def _claim(self, partition: Partition, *, is_wanted: bool = True) -> Trimmable | None:
        """Claim a journal, or keep the claim; None if nothing can leave it, or another process trims it."""
        webhook_ids = await self._webhook_ids()
        command = ClaimTrim(partition.number, self._keep_ms, is_wanted, self._process, webhook_ids)
        claimed = await partition.run(command)
        if claimed.code != "ok":
            return None
        bound, archived_to, chain, trimmed_to, checkpoint, dropped_to = claimed.value or ("",) * 6
        beginning = str(BEGINNING)
        return Trimmable(
            claimed.token,
            Position.of(bound),
            Position.of(archived_to or beginning),
            chain,
            Position.of(trimmed_to or beginning),
            checkpoint,
            Position.of(dropped_to or beginning),
        )

    async def _first_message(self, partition: Partition) -> Position:
        """Return the first entry that a message in the store needs; no message of an earlier entry follows."""
        first, cursor = LAST, "0"
        while True:
            words = ("MATCH", "msg_*", "COUNT", SCANNED)
            scanned, flat = await partition.fetch("ZSCAN", partition.keys.key("agenda"), cursor, *words)
            first = min([first, *(Position.of(each.removeprefix("msg_")) for each in flat[::2])])
            cursor = str(scanned)
            if cursor == "0":
                return first

    async def _webhook_ids(self) -> Sequence[str]:
        first = self._partitions[0]
        return [each for each in await first.fetch("HKEYS", first.keys.key("webhooks")) if each != "version"]

    async def _require_same_history(self, partition: Partition, end: ArchivePosition, found: Trimmable) -> None:
        """Raise ArchiveUnfit unless the archive has the entry, and the chain that the store recorded."""
        number, position = partition.number, end.position
        raw = await partition.fetch("XRANGE", partition.keys.journal, str(position), str(position))
        kept = await self._archive.read_event(number, position)
        ours = (*event_row(number, entry_from(raw[0]), "")[:7], end.chain) if raw else None
        if kept != ours:
            raise ArchiveUnfit(
                f"entry {position} of partition {number:02x} differs in the store and its archive"
            )
        recorded = await self._archive.read_event(number, found.archived_to)
        if recorded is None or recorded[-1] != found.chain:
            raise ArchiveUnfit(
                f"the archive of partition {number:02x} has another history up to {found.archived_to} than the "
                "store recorded"
            )

    async def _add_checkpoint(
        self,
        partition: Partition,
        before: Checkpoint,
        end: ArchivePosition,
        rest: Callable[[float], Awaitable[None]],
    ) -> Checkpoint | None:
        """Add the checkpoint at an archived entry; return None if another process trims, or this one stops."""
        number, differences = partition.number, list[Difference]()
        began_s = renewed_s = self._clock.monotonic()

        async def pause() -> None:
            nonlocal began_s, renewed_s
            now_s = self._clock.monotonic()
            await rest(now_s - began_s)
            began_s = self._clock.monotonic()
            if began_s - renewed_s > RENEW_S:
                renewed_s = began_s
                if await self._claim(partition) is None:
                    raise _ClaimLost
            if self._stopping.is_set():
                raise _ClaimLost

        with closing(Ledger(differences.append)) as ledger, suppress(_ClaimLost):
            await load_checkpoint(self._archive, number, before, ledger)
            chain, position = before.chain, before.position
            while rows := await self._archive.read_events(number, position, BATCH, end.position):
                chain = events_chain(rows, chain)
                position = Position(rows[-1][1], rows[-1][2])
                entries = [entry_of(row) for row in rows]
                await apply_entries(self._archive, number, ledger, entries, before.position)
                if differences:
                    raise ArchiveUnfit(f"the books of partition {number:02x} have differences: run an audit")
                await pause()
            folded = end._replace(entries=before.entries + ledger.entries)
            return await add_checkpoint(self._archive, number, ledger, before, folded, pause)
        return None

    async def _remove_entries(self, partition: Partition, checkpoint: Checkpoint, found: Trimmable) -> bool:
        """Let the entries before a checkpoint leave the store; return whether all of them did."""
        number = partition.number
        command = TrimJournal(
            number, found.claim, str(checkpoint.position), checkpoint.digest, self._keep_ms, TRIMMED,
            await self._webhook_ids(),
        )  # fmt: skip
        while (code := (await partition.run(command)).code) == "more":
            if self._stopping.is_set():
                return False
            await self._clock.sleep(TRIM_PAUSE_S)
        await remove_rows_before(self._archive, number, min(checkpoint.position, found.trimmed_to))
        return code == "ok"

    async def _drop_records(
        self,
        partition: Partition,
        checkpoint: Checkpoint,
        found: Trimmable,
        rest: Callable[[float], Awaitable[None]],
    ) -> None:
        """Let the records that ended before a checkpoint leave the store."""
        began_s = self._clock.monotonic()

        async def pause() -> None:
            nonlocal began_s
            await rest(self._clock.monotonic() - began_s)
            began_s = self._clock.monotonic()
            if self._stopping.is_set():
                raise _ClaimLost

        dropping = Dropping(self._partitions, self._archive, partition, found.claim)
        with suppress(_ClaimLost):
            await dropping.drop(found.dropped_to, checkpoint.position, pause)

    async def _rest(self, spent_s: float) -> None:
        """Leave most of the time to payments."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(REST * spent_s, REST_S_MAX)):
                await self._stopping.wait()

    async def _pause_briefly(self, _: float) -> None:
        await self._clock.sleep(0)


class _ClaimLost(Exception):
    """Raised to give a checkpoint up: another process trims the journal, or this one stops."""


def require_keep_days(keep_days: int) -> None:
    """Raise ValueError for a time that is too short: messages and webhooks need entries for days."""
    if keep_days < KEEP_DAYS_MIN:
        raise ValueError(f"keep_days has to be {KEEP_DAYS_MIN} or more")
