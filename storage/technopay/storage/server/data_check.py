"""Checks the data of a store: they are those of earlier checks, and complete.

A journal only grows: while the newest entry that this process read is there, nothing before it was lost. A
later last entry proves nothing: a store that was restored to an older state gets later entries, too.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from technopay.engine.errors import Fault, StoreUnavailable, StoreUnfit
from technopay.engine.values import Position
from technopay.storage.records import fields_of
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import loss_message, require_ours, require_whole
from technopay.storage.scripts.loader import Script
from technopay.storage.server.connection import ELSEWHERE, Command

logger = logging.getLogger(__name__)

Request = Callable[[Sequence[Command]], Awaitable[Sequence[Any]]]
"""Sends commands on the connection to check; returns a reply, error reply or fault for each."""

BEGINNING = "0-0"


class DataCheck:
    """What this process knows of the partitions of a store, on all of its servers."""

    def __init__(
        self, keys: Keys, timezone: str, record_loss: Script | None = None, *, waits_for_replicas: bool = False
    ) -> None:
        """With `waits_for_replicas`, only entries that replicas have acknowledged are expected: those read.

        A check does not wait for replicas: a failover may lose the last entry that it sees, and nobody else.
        """
        self._keys = keys
        self._timezone = timezone
        self._record_loss = record_loss
        self._waits_for_replicas = waits_for_replicas
        self._incarnation: str | None = None
        self._watermarks: list[Watermark] = []
        self.unfit: dict[object, StoreUnfit] = {}
        """What was wrong at the last check of a server: then no partition of the store may be used."""

    @property
    def partitions(self) -> range:
        """The numbers of the partitions; empty until a store is adopted."""
        return range(len(self._watermarks))

    def reset(self) -> None:
        """Forget the data: until a store is adopted, only its servers are checked."""
        self._incarnation, self._watermarks = None, []
        self.unfit.clear()

    def adopt(self, meta: Mapping[str, str]) -> None:
        """Expect this incarnation from now on."""
        self._incarnation = meta["incarnation"]
        count = int(meta["partitions"])
        self._watermarks = [Watermark(replace(self._keys, partition=number)) for number in range(count)]

    def note_entry(self, entry: str, partition: int = 0) -> None:
        """Expect this entry in the journal of a partition from now on."""
        if self._watermarks:
            self._watermarks[partition].see(entry)

    def keys_of(self, partition: int) -> Keys:
        return self._watermarks[partition].keys

    def begin(self, numbers: Iterable[int]) -> "list[Expectation]":
        """Return what a check of these partitions has to find; its commands are sent next."""
        return [Expectation(each, each.seen) for each in map(self._watermarks.__getitem__, numbers)]

    async def check(
        self, server: object, request: Request, expected: "Sequence[Expectation]", replies: Sequence[Any]
    ) -> None:
        """Check the replies of a server to the commands of expectations.

        Raises:
            StoreUnfit: a partition is not the expected one, or incomplete.
            StoreUnavailable: a reply is missing.

        """
        try:
            await self._check_all(request, expected, replies)
        except StoreUnfit as error:
            self.unfit[server] = error
            raise
        self.unfit.pop(server, None)

    async def _check_all(
        self, request: Request, expected: "Sequence[Expectation]", replies: Sequence[Any]
    ) -> None:
        for place, each in enumerate(expected):
            found = replies[place * READS : (place + 1) * READS]
            if not any(isinstance(reply, Exception) and str(reply).startswith(ELSEWHERE) for reply in found):
                await self._check_partition(request, each, *map(reply_of, found))

    async def _check_partition(
        self, request: Request, expected: "Expectation", last: Any, kept: Any, meta: Any
    ) -> None:
        watermark, seen = expected.watermark, expected.seen
        fields = fields_of(meta)
        self._check_meta(watermark, fields)
        found = last[0][0] if last and not self._waits_for_replicas else BEGINNING
        is_missing = seen != BEGINNING and not kept
        if is_missing and await self._is_lost(request, watermark, seen):
            raise StoreUnfit(loss_message(seen))
        require_whole(fields)
        if is_missing:
            watermark.forget(seen, found)
        else:
            watermark.prove(seen, found)

    def _check_meta(self, watermark: "Watermark", meta: Mapping[str, str]) -> None:
        try:
            if not meta:
                raise StoreUnfit("the store is empty: it lost its data; restore it")
            require_ours(meta, self._timezone)
            if meta.get("incarnation") != self._incarnation:
                raise StoreUnfit(
                    "the store was replaced by another one (its incarnation differs); restore the former one, "
                    "or restart to use this one"
                )
        except StoreUnfit:
            # Entries since the last check may have been seen in the wrong store.
            watermark.seen = watermark.proved
            raise

    async def _is_lost(self, request: Request, watermark: "Watermark", entry: str) -> bool:
        """Return whether a missing entry is lost: a process that was paused for days expects trimmed ones.

        A loss is recorded in the store, so that no other engine uses it, until an operator accepts the loss.
        """
        if self._record_loss is None:
            return True
        keys = [watermark.keys.journal]
        if len(self._watermarks) > 1:
            keys.append(watermark.keys.guard(self._incarnation))
        call: Command = ("FCALL", self._record_loss.function, len(keys), *keys, str(self._incarnation), entry)
        [reply] = await request([call])
        if isinstance(reply, Exception):
            logger.warning("the loss of entry %s could not be recorded: %s", entry, reply)
            return True
        return list(reply[:1]) != ["kept"]


@dataclass(slots=True)
class Watermark:
    """What this process knows of the journal of one partition."""

    keys: Keys
    seen: str = BEGINNING
    """The newest entry that was read."""
    proved: str = BEGINNING
    """The newest entry as of the last check."""

    def see(self, entry: str) -> None:
        self.seen = max(self.seen, entry, key=Position.of)

    def prove(self, *entries: str) -> None:
        """Note entries that were there at a check."""
        self.proved = max(self.proved, *entries, key=Position.of)
        self.see(self.proved)

    def forget(self, trimmed: str, found: str) -> None:
        """Expect an entry that was found in the place of one that was trimmed, or of an earlier one."""
        bound = Position.of(trimmed)
        self.proved = found if Position.of(self.proved) <= bound else self.proved
        self.seen = found if Position.of(self.seen) <= bound else self.seen


@dataclass(frozen=True, slots=True)
class Expectation:
    """The entry that a check of a partition has to find: the newest one when it began."""

    watermark: Watermark
    seen: str

    @property
    def commands(self) -> Sequence[Command]:
        """The reads of a check. The meta record is last: if it is right, the journal is of the same store."""
        keys = self.watermark.keys
        return (
            ("XREVRANGE", keys.journal, "+", "-", "COUNT", 1),
            ("XRANGE", keys.journal, self.seen, self.seen),
            ("HGETALL", keys.key("meta")),
        )


READS = 3
"""The commands of an expectation."""


def reply_of(result: Any) -> Any:
    """Return a reply; raise if it is an error reply or a fault."""
    if isinstance(result, Fault):
        raise StoreUnavailable("The store did not reply to the health check.") from result
    if isinstance(result, Exception):
        raise StoreUnavailable(f"The store does not work: {result}.") from result
    return result
