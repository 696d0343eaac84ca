"""What a store is asked before it is used and while it is used, and what its answers mean."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Any, Literal, NamedTuple

from technopay.engine.errors import Fault, StoreUnavailable, StoreUnfit, StoreUninitialised
from technopay.storage.records import fields_of
from technopay.storage.server.append_only import is_written_here

logger = logging.getLogger(__name__)

Durability = Literal["always", "everysec", "unchecked"]

SCHEMA = "5"
SCHEMA_BEFORE = "4"
"""What is migrated when it is opened."""
PARTITIONS = "1"
REDIS_VERSION_MIN = (7, 0)

Question = tuple[str | int, ...]
Ask = Callable[[Sequence[Question]], Awaitable[Sequence[Any]]]
"""Asks on the very connection that is going to be used: a reply, an error reply or a fault for each."""

BEGINNING = "0-0"
SETTINGS = (
    "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy",
    "dir", "appenddirname", "appendfilename",
)  # fmt: skip
NOT_TOLD = ("ERR", "NOPERM")
"""How the error replies begin that say that the server never tells its configuration."""


MEMORY_WARNING = 0.8
"""Of its bound: what a store has used when it is said that it will be full."""
FREED = 0.99
"""Of its bound: what a store that was full has to come to, lest the gate open and close all the time."""


class StoreFull(StoreUnfit):
    """Raised when there is no memory for anything new. What was begun can be finished."""


def require_durable(info: Mapping[str, str], durability: Durability) -> None:
    """Refuse a server that could lose what it acknowledged, or forget what it must keep.

    Raises:
        StoreUnfit: says what is wrong, and how to overrule it.

    """
    if durability == "unchecked":
        return
    accepted = ("always",) if durability == "always" else ("always", "everysec")
    overrule = "; TECHNOPAY_DURABILITY=unchecked overrules this"
    if "appendonly" not in info:
        raise StoreUnfit(f"the store does not tell its configuration (CONFIG GET){overrule}")
    if info["appendonly"] != "yes":
        raise StoreUnfit(f"the store is not durable: appendonly is {info['appendonly']}, not yes{overrule}")
    if info["appendfsync"] not in accepted:
        raise StoreUnfit(
            f"the store can lose acknowledged payments: appendfsync is {info['appendfsync']}, not always; "
            f"TECHNOPAY_DURABILITY={info['appendfsync']} overrules this"
            if info["appendfsync"] == "everysec"
            else f"the store is not durable: appendfsync is {info['appendfsync']}, not always{overrule}"
        )
    if info["no-appendfsync-on-rewrite"] != "no":
        raise StoreUnfit(
            f"the store is not durable during rewrites: no-appendfsync-on-rewrite is yes{overrule}"
        )
    if info["maxmemory-policy"] != "noeviction":
        raise StoreUnfit(f"the store may forget: maxmemory-policy is {info['maxmemory-policy']}{overrule}")


def require_written(info: Mapping[str, str]) -> None:
    """Refuse a server that is configured to write its append-only file, but does not.

    Raises:
        StoreUnfit: says what is wrong.

    """
    if info.get("aof_enabled", "1") != "1":
        raise StoreUnfit(
            "the store does not write its append-only file (aof_enabled is 0), although it is set to"
        )
    if (status := info.get("aof_last_write_status", "ok")) != "ok":
        raise StoreUnfit(
            f"the store cannot write its append-only file (aof_last_write_status is {status}): look at its disk"
        )


def require_primary(info: Mapping[str, str]) -> None:
    """Refuse a replica, a cluster, and a server that is too old.

    Raises:
        StoreUnfit: says what is wrong.

    """
    if info["role"] != "master":
        raise StoreUnfit("the store is a replica; payments need the writable primary")
    if info["cluster_enabled"] != "0":
        raise StoreUnfit("the store is a cluster; use a single primary")
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < REDIS_VERSION_MIN:
        raise StoreUnfit(f"the store is version {info['redis_version']}; 7.0 or later is needed")


def require_ours(meta: Mapping[str, str], timezone: str) -> None:
    """Refuse a store that was never initialised or lost its data, or that is used in another way.

    Raises:
        StoreUnfit: says what is wrong.

    """
    if not meta:
        raise StoreUninitialised(
            "the store was never initialised, or it lost its data; "
            "if it is new, run `technopay init` or `serve --init`, else restore it"
        )
    for name, ours in (("schema", SCHEMA), ("partitions", PARTITIONS), ("timezone", timezone)):
        if meta.get(name) != ours:
            raise StoreUnfit(f"the store has {name} {meta.get(name)}, this program {ours}")


class Memory(NamedTuple):
    """What a store has used, and may use; None if it has no bound."""

    used_bytes: int
    max_bytes: int | None

    @property
    def is_short(self) -> bool:
        """Whether the store will be full before long."""
        return self.max_bytes is not None and self.used_bytes >= MEMORY_WARNING * self.max_bytes


class HealthCheck:
    """Knows what the store has to be, and the newest entry of the journal that this process has seen in it.

    The journal only grows: while that entry is there, nothing before it was lost. That the last entry is later
    would not say so, because a store that came back older goes on with later ones.
    """

    def __init__(self, *, meta: str, journal: str, timezone: str, durability: Durability) -> None:
        self._meta = meta
        self._journal = journal
        self._timezone = timezone
        self._durability: Durability = durability
        self._incarnation: str | None = None
        self._seen = BEGINNING
        self._proved = BEGINNING
        self._is_full = False
        self._written_by: str | None = None
        self.memory: Memory | None = None
        """As it was at the last look; None before it, or where it is not told."""

    def leave(self) -> None:
        """Forget the store: until one is adopted, only the server is looked at."""
        self._incarnation = None
        self._written_by = None
        self._seen = self._proved = BEGINNING

    def adopt(self, meta: Mapping[str, str]) -> None:
        """Hold the store to what it is now."""
        self._incarnation = meta["incarnation"]

    def saw(self, entry: str) -> None:
        """Remember that the journal has this entry."""
        self._seen = max(self._seen, entry, key=_order_of)

    async def look(self, ask: Ask) -> None:
        """Look whether the store may be used.

        Raises:
            StoreUnfit: it may not; says why.
            StoreUnavailable: it does not say.

        """
        seen, journal = self._seen, self._journal
        # The meta record comes after the journal: if it is still there, the journal was that of the same store.
        answers = await ask(
            (
                ("INFO",),
                ("CONFIG", "GET", *SETTINGS),
                ("XREVRANGE", journal, "+", "-", "COUNT", 1),
                ("XRANGE", journal, seen, seen),
                ("HGETALL", self._meta),
            )
        )
        try:
            await self._judge_server(ask, answers[0], answers[1])
            if self._incarnation is not None:
                last, kept, meta = map(_told, answers[2:])
                self._judge_data(fields_of(meta), last, seen, is_kept=bool(kept))
            if self._is_full and self._durability != "unchecked" and self.memory is not None:
                raise StoreFull(
                    f"the store is full: it uses more than its maxmemory of {self.memory.max_bytes} bytes"
                )
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreUnavailable(f"What the store says of itself cannot be read: {error!r}.") from error

    async def _judge_server(self, ask: Ask, info: Any, settings: Any) -> None:
        said = _lines_of(_told(info))
        self._note_memory(said)
        require_primary(said)
        if said.get("loading", "0") != "0":
            # Until it has loaded its data, it neither writes its file nor has it open.
            raise StoreUnavailable("The store does not work: it is loading the dataset (LOADING).")
        if self._durability == "unchecked":
            return
        if isinstance(settings, Exception) and str(settings).startswith(NOT_TOLD):
            settings = ()
        told = fields_of(_told(settings))
        require_durable(said | told, self._durability)
        require_written(said)
        await self._require_file(ask, said, told)

    async def _require_file(self, ask: Ask, said: Mapping[str, str], told: Mapping[str, str]) -> None:
        """Refuse a server whose file was seen here since it runs, and is gone. Another run begins anew."""
        run = said.get("run_id")
        is_here = is_written_here(said, told)
        if is_here:
            self._written_by = run
        elif self._written_by != run:
            self._written_by = None
        elif is_here is False and run is not None:
            # A server that ended since it answered has nothing open: only one that still answers lost its file.
            [again] = await ask((("INFO", "server"),))
            if _lines_of(_told(again)).get("run_id") == run:
                raise StoreUnfit(
                    "the append-only file of the store was deleted or replaced while the server writes it; "
                    "save the data before the server ends (BGREWRITEAOF writes a new file, where its "
                    "directory is there)"
                )

    def _note_memory(self, said: Mapping[str, str]) -> None:
        if "used_memory" not in said:
            return
        was_short = self.memory is not None and self.memory.is_short
        self.memory = Memory(int(said["used_memory"]), int(said.get("maxmemory", "0")) or None)
        if self.memory.is_short and not was_short:
            logger.warning("the store has used %d of %s bytes of its maxmemory", *self.memory)
        # What the server leaves out when it compares, INFO counts.
        counted = self.memory.used_bytes - int(said.get("mem_not_counted_for_evict", "0"))
        most = (self.memory.max_bytes or inf) * (FREED if self._is_full else 1)
        self._is_full = counted > most

    def _judge_data(self, meta: Mapping[str, str], last: Sequence[Any], seen: str, *, is_kept: bool) -> None:
        try:
            if not meta:
                raise StoreUnfit("the store came back empty: it lost its data; restore it")
            require_ours(meta, self._timezone)
            if meta.get("incarnation") != self._incarnation:
                raise StoreUnfit(
                    "the store came back as another one (its incarnation differs); bring the right one back, "
                    "or start again to use this one"
                )
        except StoreUnfit:
            # What was seen since the last look may have been seen in the wrong store.
            self._seen = self._proved
            raise
        if seen != BEGINNING and not is_kept:
            raise StoreUnfit(
                f"the store came back older: its journal lost entry {seen}; restore what is newer, "
                "or start again to use it as it is"
            )
        self._proved = max(self._proved, seen, last[0][0] if last else BEGINNING, key=_order_of)
        self.saw(self._proved)


def _told(answer: Any) -> Any:
    """Answer what was answered, unless that is an error."""
    if isinstance(answer, Fault):
        raise StoreUnavailable("The store did not answer when it was asked about itself.") from answer
    if isinstance(answer, Exception):
        raise StoreUnavailable(f"The store does not work: {answer}.") from answer
    return answer


def _lines_of(info: str) -> dict[str, str]:
    """Read what INFO answers: `name:value` in lines, under headings."""
    pairs = (line.partition(":") for line in info.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs if name}


def _order_of(entry: str) -> tuple[int, int]:
    """Answer what entries of the journal are sorted by."""
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number)
