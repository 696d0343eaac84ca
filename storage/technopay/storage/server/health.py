"""Checks a server of a store: durable, and a writable primary; its data are checked beside it."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple

from redis.exceptions import RedisError

from technopay.engine.errors import Fault, StoreUnavailable, StoreUnfit
from technopay.storage.records import fields_of
from technopay.storage.server.connection import Command
from technopay.storage.server.data_check import DataCheck, Request, reply_of

logger = logging.getLogger(__name__)

Durability = Literal["always", "everysec", "unchecked"]

REDIS_VERSION_MIN = (7, 0)

Ask = Callable[[str, int, Command], Awaitable[Any]]
"""Sends a command to the server at an address; returns the reply or error reply, or raises."""
SETTINGS = (
    "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy",
    "dir", "appenddirname", "appendfilename",
)  # fmt: skip
SETTINGS_REFUSED = ("ERR", "NOPERM")
"""Error replies with these prefixes mean that the server does not show its configuration."""

MEMORY_WARNING = 0.8
"""The share of maxmemory that causes a warning."""
MEMORY_FREED = 0.99
"""The share of maxmemory below which a full store is usable again; the gap keeps the gate from flapping."""
MANIFEST_READS = 3
IN_TURN = 16
"""Partitions that one check looks at, beside the first one."""
REPLICA_LAG_S_MAX = 10
"""A replica that was silent for longer counts as gone; the default of the server's `min-replicas-max-lag`."""


class StoreFull(StoreUnfit):
    """Raised when there is no memory for anything new. Accepted payments can be finished."""


class NotPrimary(StoreUnfit):
    """Raised when the server is a replica."""


class ServerInfo(NamedTuple):
    """The memory that a store uses, its bound if it has one, and the name and version of its server."""

    used_bytes: int
    max_bytes: int | None
    version: str

    @property
    def is_short(self) -> bool:
        return self.max_bytes is not None and self.used_bytes >= MEMORY_WARNING * self.max_bytes


class HealthCheck:
    """Checks one server, and the partitions that it has."""

    def __init__(
        self,
        data: DataCheck,
        *,
        durability: Durability,
        replicas: int = 0,
        partitions: Callable[[], Sequence[int]] | None = None,
    ) -> None:
        """With `partitions` the server is a node of a cluster; they return the numbers that it has."""
        self._data = data
        self._durability: Durability = durability
        self._replicas = replicas
        self._is_node = partitions is not None
        self._partitions = partitions or (lambda: data.partitions)
        self._next = 0
        """The partition behind the last one that was checked."""
        self._is_full = False
        self._run_with_file: str | None = None
        """The run of the server whose append-only file was found open."""
        self.server_info: ServerInfo | None = None
        """As of the last check; None before it, or where the server does not show it."""

    def forget(self) -> None:
        """Forget the data of a server that is not used any more."""
        self._data.unfit.pop(self, None)

    async def check(self, request: Request, ask: Ask | None = None, *, is_new: bool = False) -> None:
        """Check whether the store may be used; with `ask`, its replicas, too.

        All partitions are checked on a new connection, later the first one and some of the others in turn.

        Raises:
            StoreUnfit: it must not be used.
            StoreUnavailable: it does not reply.

        """
        expected = self._data.begin(self._partitions() if is_new else self._in_turn())
        commands = [command for each in expected for command in each.commands]
        info, settings, *replies = await request((("INFO",), ("CONFIG", "GET", *SETTINGS), *commands))
        try:
            await self._check_server(request, ask, info, settings)
            await self._data.check(self, request, expected, replies)
            if self._is_full and self._durability != "unchecked" and self.server_info is not None:
                raise StoreFull(
                    f"the store is full: it uses more than its maxmemory of {self.server_info.max_bytes} bytes"
                )
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreUnavailable(
                f"The replies of the store to the health check cannot be read: {error!r}."
            ) from error

    def _in_turn(self) -> Sequence[int]:
        first, others = self._partitions()[:1], self._partitions()[1:]
        turn = [others[(self._next + place) % len(others)] for place in range(min(IN_TURN, len(others)))]
        self._next += len(turn)
        return [*first, *turn]

    async def _check_server(self, request: Request, ask: Ask | None, reply: Any, settings: Any) -> None:
        info = info_of(reply)
        self._note_memory(info)
        require_primary(info, is_node=self._is_node)
        if info.get("loading", "0") != "0":
            # Until it has loaded its data, it neither writes its file nor has it open.
            raise StoreUnavailable("The store does not work: it is loading the dataset (LOADING).")
        replicas = replicas_of(info)
        if len(replicas) < self._replicas:
            raise StoreUnfit(
                f"the store has {len(replicas)} of the {self._replicas} replicas that have to acknowledge"
            )
        if self._durability == "unchecked":
            return
        if isinstance(settings, Exception) and str(settings).startswith(SETTINGS_REFUSED):
            settings = ()
        configured = fields_of(reply_of(settings))
        require_durable(configured, self._durability)
        require_written(info)
        await self._require_file(request, info, configured)
        if self._replicas and ask is not None:
            await asyncio.gather(*(self._check_replica(ask, *address) for address in replicas))

    async def _check_replica(self, ask: Ask, host: str, port: int) -> None:
        """Raise StoreUnfit if a replica can lose what it acknowledged."""
        name = f"the replica {host}:{port}"
        try:
            settings = fields_of(reply_of(await ask(host, port, ("CONFIG", "GET", *SETTINGS))))
        except (Fault, RedisError, OSError, TimeoutError) as error:
            raise StoreUnfit(
                f"{name} does not show its configuration ({error!r}); "
                "TECHNOPAY_DURABILITY=unchecked overrules this"
            ) from error
        require_durable(settings, self._durability, name)

    async def _require_file(
        self, request: Request, info: Mapping[str, str], settings: Mapping[str, str]
    ) -> None:
        """Raise StoreUnfit if the append-only file was found open in this run of the server, and is gone."""
        run = info.get("run_id")
        is_open = has_file_open(info, settings)
        if is_open:
            self._run_with_file = run
        elif self._run_with_file != run:
            self._run_with_file = None
        elif is_open is False and run is not None:
            # A server that ended since its reply has no file open: only one that still replies lost it.
            [again] = await request((("INFO", "server"),))
            if info_of(again).get("run_id") == run:
                raise StoreUnfit(
                    "the append-only file of the store was deleted or replaced while the server writes it; "
                    "save the data before the server ends (BGREWRITEAOF writes a new file, where its "
                    "directory is there)"
                )

    def _note_memory(self, info: Mapping[str, str]) -> None:
        if "used_memory" not in info:
            return
        was_short = self.server_info is not None and self.server_info.is_short
        name = info.get("server_name", "redis")
        version = f"{name} {info.get(f'{name}_version', info['redis_version'])}"
        now = ServerInfo(int(info["used_memory"]), int(info.get("maxmemory", "0")) or None, version)
        self.server_info = now
        if now.is_short and not was_short:
            logger.warning("the store has used %d of %s bytes of its maxmemory", now.used_bytes, now.max_bytes)
        # used_memory includes buffers that the server does not count against its bound.
        counted = now.used_bytes - int(info.get("mem_not_counted_for_evict", "0"))
        self._is_full = counted > (now.max_bytes or inf) * (MEMORY_FREED if self._is_full else 1)


def require_primary(info: Mapping[str, str], *, is_node: bool = False) -> None:
    """Raise StoreUnfit if the server is a replica, too old, or a node of a cluster where it must not be one."""
    if info["role"] != "master":
        raise NotPrimary("the store is a replica; payments need the writable primary")
    if (info["cluster_enabled"] != "0") != is_node:
        wrong = "no cluster; use redis://" if is_node else "a cluster; use redis+cluster://"
        raise StoreUnfit(f"the store is {wrong}")
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < REDIS_VERSION_MIN:
        raise StoreUnfit(f"the store is version {info['redis_version']}; 7.0 or later is needed")


def replicas_of(info: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the addresses of the replicas that keep up."""
    found = []
    for number in range(int(info.get("connected_slaves", "0"))):
        replica = dict(part.split("=", 1) for part in info.get(f"slave{number}", "").split(",") if part)
        if replica.get("state") == "online" and int(replica.get("lag", "0")) <= REPLICA_LAG_S_MAX:
            found.append((replica["ip"], int(replica["port"])))
    return found


def require_durable(info: Mapping[str, str], durability: Durability, name: str = "the store") -> None:
    """Raise StoreUnfit if the server could lose what it acknowledged, or forget what it must keep."""
    if durability == "unchecked":
        return
    overruled_by = "unchecked"
    if "appendonly" not in info:
        wrong = f"{name} does not show its configuration (CONFIG GET)"
    elif info["appendonly"] != "yes":
        wrong = f"{name} is not durable: appendonly is {info['appendonly']}, not yes"
    elif info["appendfsync"] == "everysec" and durability == "always":
        wrong = f"{name} can lose acknowledged payments: appendfsync is everysec, not always"
        overruled_by = "everysec"
    elif info["appendfsync"] not in ("always", "everysec"):
        wrong = f"{name} is not durable: appendfsync is {info['appendfsync']}, not always"
    elif info["no-appendfsync-on-rewrite"] != "no":
        wrong = f"{name} is not durable during rewrites: no-appendfsync-on-rewrite is yes"
    elif info["maxmemory-policy"] != "noeviction":
        wrong = f"{name} may evict data: maxmemory-policy is {info['maxmemory-policy']}, not noeviction"
    else:
        return
    raise StoreUnfit(f"{wrong}; TECHNOPAY_DURABILITY={overruled_by} overrules this")


def require_written(info: Mapping[str, str]) -> None:
    """Raise StoreUnfit if the server is configured to write its append-only file, but does not."""
    if info.get("aof_enabled", "1") != "1":
        raise StoreUnfit(
            "the store does not write its append-only file (aof_enabled is 0), although it is set to"
        )
    if (status := info.get("aof_last_write_status", "ok")) != "ok":
        raise StoreUnfit(
            f"the store cannot write its append-only file (aof_last_write_status is {status}): check its disk"
        )


def has_file_open(info: Mapping[str, str], settings: Mapping[str, str]) -> bool | None:
    """Whether the server has the newest append-only file of its manifest open; None if that is not visible."""
    try:
        folder = Path(settings["dir"]) / settings["appenddirname"]
        manifest = folder / f"{settings['appendfilename']}.manifest"
        descriptors = Path("/proc") / info["process_id"] / "fd"
        # A rewrite replaces the manifest, then closes the old file: read again if it changed meanwhile.
        for _ in range(MANIFEST_READS):
            name = _newest_file(manifest)
            if name is not None and _is_open(folder / name, descriptors):
                return True
            if _newest_file(manifest) == name:
                return False
    except (KeyError, OSError):
        pass  # not shown; the server ended, runs elsewhere or as another user; no file descriptor is left
    return None


def _newest_file(manifest: Path) -> str | None:
    try:
        lines = manifest.read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    names = [line.split()[1] for line in lines if line.startswith("file ") and " type i" in line]
    return names[-1] if names else None


def _is_open(file: Path, descriptors: Path) -> bool:
    try:
        status = file.stat()
    except FileNotFoundError:
        return False
    for descriptor in descriptors.iterdir():
        with suppress(OSError):  # it was closed meanwhile
            if os.path.samestat(status, descriptor.stat()):
                return True
    return False


def info_of(result: Any) -> dict[str, str]:
    """Read the reply of INFO: lines of `name:value` under headings."""
    pairs = (line.partition(":") for line in reply_of(result).splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs if name}
