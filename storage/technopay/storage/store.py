"""The store: Redis or Valkey, on a server, embedded, or faked."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from technopay.engine.commands import ClaimRelay, Command
from technopay.engine.errors import Fault, StoreUnfit
from technopay.engine.models import Audit
from technopay.engine.operation import require_type
from technopay.engine.ports import Outcome
from technopay.engine.statistics import ScriptTime, StoreGauges, UnreadableRecords
from technopay.engine.values import JournalBatch, Lease, News, Position
from technopay.engine.webhooks.commands import ReadWebhooks
from technopay.storage import opening
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.history import History
from technopay.storage.archive.trimmer import KEEP_DAYS, require_keep_days
from technopay.storage.audit.auditor import audit
from technopay.storage.business_days import calendar_of
from technopay.storage.commands import MarkDemo
from technopay.storage.migration import migrate
from technopay.storage.monitoring import measure, ping
from technopay.storage.options import REPLY_TIMEOUT_S, WAIT_MS, check_options
from technopay.storage.partition import Partition
from technopay.storage.partitions import Partitions
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import (
    INITIALISING,
    PARTITIONS_MAX,
    SCHEMA,
    is_migratable,
    losses_of,
    require_one_store,
    require_ours,
)
from technopay.storage.scripts.loader import load_scripts
from technopay.storage.server.address import parse_address
from technopay.storage.server.client import OTHER_LOOP, ServerClient
from technopay.storage.server.cluster import ClusterClient
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.embedded import EmbeddedValkey
from technopay.storage.server.fake import FakeClient
from technopay.storage.server.health import Durability
from technopay.storage.server.new_client import ClientOptions, new_client
from technopay.storage.webhook_records import count_encrypted

Value = TypeVar("Value")

CHECK_INTERVAL_S = 1.0
"""The interval of health checks: configuration and role of the server can change at any time."""


class RedisStore:
    """The engine's store. Make one with `connect`, `embedded` or `fake`; `async with` opens and closes it."""

    def __init__(
        self,
        *,
        url: str | None,
        server: EmbeddedValkey | None = None,
        initialise: bool,
        timezone: str,
        namespace: str,
        durability: Durability,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        wait_replicas: int = 0,
        wait_ms: int = WAIT_MS,
        partitions: int = 1,
        migrates: bool = False,
    ) -> None:
        check_options(
            timezone=timezone,
            namespace=namespace,
            durability=durability,
            reply_timeout_s=reply_timeout_s,
            initialise=initialise,
            wait_replicas=wait_replicas,
            wait_ms=wait_ms,
            partitions=partitions,
        )
        self._url = url
        self._server = server
        self._initialise = initialise
        self._timezone = timezone
        self._keys = Keys(namespace)
        self._new_partitions = partitions
        scripts = load_scripts()
        self._library = next(iter(scripts.values())).library
        self._script_times: defaultdict[str, ScriptTime] = defaultdict(ScriptTime)
        self.unreadable = UnreadableRecords()
        self._partition = Partition(
            self._keys, scripts, calendar_of(timezone), self._script_times, self.unreadable
        )
        self._partitions = Partitions(self._partition, 1)
        self._router: Partition | Partitions = self._partition
        self._data = DataCheck(
            self._keys, timezone, scripts["record_loss"], waits_for_replicas=wait_replicas > 0
        )
        self._client: ServerClient | ClusterClient | None = None
        self._options = ClientOptions(
            self._library,
            durability,
            reply_timeout_s,
            wait_replicas,
            wait_ms,
            scripts["write_tick"],
            self._keys.journal,
        )
        self.migrates = migrates
        self.was_migrated = False
        # An embedded or fake store has no other engines. On a server, an engine closes at its next health
        # check, and its last call ends within the reply time-out.
        is_shared = url is not None and server is None
        self._migration_wait_s = 2 * CHECK_INTERVAL_S + reply_timeout_s if is_shared else 0.0
        self._resources = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: Callable[[], datetime] | None = None
        self.is_for_demo = False
        """Whether a store that is in use but no demo's is refused before the first write."""
        self.tolerates_loss = False
        """Whether a store that lost entries is opened, to audit it or to accept the loss."""

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        initialise: bool = False,
        timezone: str = "UTC",
        namespace: str = "tp",
        durability: Durability = "always",
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        wait_replicas: int = 0,
        wait_ms: int = WAIT_MS,
        partitions: int | None = None,
    ) -> Self:
        """Use a server or a cluster, by a redis, rediss, unix, redis+sentinel or redis+cluster URL.

        With `initialise` the store may be new; then it gets `partitions`, which never change: by default 1, on
        a cluster 256. With `wait_replicas`, so many replicas have fsynced what a reply shows; without them for
        `wait_ms`, its outcome is unknown, and without them at all nothing is accepted.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: an argument is invalid.

        """
        require_type("url", url, str)
        try:
            is_cluster = bool(parse_address(url).nodes)
        except ValueError as error:
            raise ValueError(f"url {error}") from None
        if is_cluster and partitions == 1:
            raise ValueError(f"partitions has to be from 2 to {PARTITIONS_MAX} on a cluster")
        return cls(
            url=url,
            initialise=initialise,
            timezone=timezone,
            namespace=namespace,
            durability=durability,
            reply_timeout_s=reply_timeout_s,
            wait_replicas=wait_replicas,
            wait_ms=wait_ms,
            partitions=partitions if partitions is not None else PARTITIONS_MAX if is_cluster else 1,
        )

    @classmethod
    def embedded(cls, data_dir: str | Path, *, timezone: str = "UTC") -> Self:
        """Run an embedded Valkey server on a data directory; a new one is initialised."""
        server = EmbeddedValkey(Path(data_dir))
        return cls(
            url=server.url,
            server=server,
            initialise=False,
            timezone=timezone,
            namespace="tp",
            durability="always",
            migrates=True,
        )

    @classmethod
    def fake(
        cls,
        *,
        timezone: str = "UTC",
        namespace: str = "tp",
        clock: Callable[[], datetime] | None = None,
        partitions: int = 1,
    ) -> Self:
        """Keep all data in memory, for tests. `clock` returns the time of the store."""
        store = cls(
            url=None,
            initialise=True,
            timezone=timezone,
            namespace=namespace,
            durability="unchecked",
            partitions=partitions,
            migrates=True,
        )
        store._clock = clock
        return store

    @property
    def url(self) -> str | None:
        """The URL of the server, also of an embedded one; None for a fake."""
        return self._url

    async def open(self) -> None:
        """Start the embedded server if there is one, connect, and check the store.

        Raises:
            StoreUnfit: it must not be used.
            StoreUnavailable: it cannot be reached.

        """
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Disconnect, then stop the embedded server. Can be called more than once."""
        if self._partition.client is not None and asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(OTHER_LOOP)
        for each in self._partitions:
            each.client = each.history = None
        await self._resources.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_open(self) -> bool:
        """Whether the store is open; its server may be down."""
        return self._partition.client is not None

    @property
    def partitions(self) -> Sequence[int]:
        return range(len(self._partitions))

    @property
    def script_times(self) -> Mapping[str, ScriptTime]:
        return self._script_times

    def partition_of(self, user_id: str) -> int:
        return self._partitions.of_user(user_id)

    def send(
        self,
        command: Command[Value],
        lease: Lease,
        on_result: Callable[[Outcome[Value] | Fault], None],
    ) -> None:
        """Send a command with all others of this loop tick; see the engine's store port."""
        self._router.send(command, lease, on_result)

    async def run(self, command: Command[Value], lease: Lease | None = None) -> Outcome[Value]:
        """Send a command and wait for its outcome. After a lost reply it is sent again, for a bounded time.

        From then on, the health check expects the last entry of news.
        """
        outcome = await self._router.run(command, lease)
        if isinstance(command, ClaimRelay) and isinstance(outcome.value, News):
            self._data.note_entry(outcome.value.end, command.partition)
        return outcome

    async def read_end(self, partition: int) -> Position:
        return await self._partitions[partition].read_end()

    async def read_clock_step(self, partition: int) -> int | None:
        return await self._partitions[partition].read_clock_step()

    async def read_journal(self, partition: int, after: Position, limit: int) -> JournalBatch:
        """Read the entries after a position; from then on, the health check expects the last one."""
        batch = await self._partitions[partition].read_journal(after, limit)
        self._data.note_entry(str(batch.end), partition)
        return batch

    async def ping(self) -> None:
        """Check whether the store works now, without a retry; of a cluster, whether one of its nodes does."""
        await ping(self._partitions, self._client.sample() if self._client else (0,))

    async def measure(self) -> StoreGauges:
        return await measure(self._partitions, self._client.server_info if self._client else None)

    async def audit(self, *, full: bool = False) -> Audit:
        """Recompute the invariants from the journal, in bounded memory; with `full` from its first entry."""
        return await audit(self._partitions, full=full)

    async def attach(self, archive: Archive) -> None:
        """Read from an archive what left the open store, from now on."""
        self._partitions.attach(History(archive, await self.read_meta()))

    async def archiver(self, archive: Archive, *, keep_days: int = KEEP_DAYS) -> Archiver:
        """Return the archiver of the open store; entries that are older than `keep_days` leave the store.

        Raises:
            ValueError: `keep_days` is less than 7.

        """
        require_keep_days(keep_days)
        await self.attach(archive)
        return Archiver(list(self._partitions), await self.read_meta(), archive, keep_days)

    async def read_meta(self) -> Mapping[str, str]:
        """Read the meta record, with the losses of all partitions; empty if the store was never initialised."""
        return await opening.read_meta(self._partitions)

    async def count_live_codes(self) -> tuple[Counter[str], bool]:
        """Count the codes that can still be used, by the id of their key; return whether these are all."""
        return await opening.count_live_codes(self._partitions)

    async def count_encrypted(self) -> Counter[str]:
        """Count the encrypted records, the secrets of webhooks, by the id of their key."""
        return count_encrypted((await self.run(ReadWebhooks())).value)

    async def mark_demo(self) -> bool:
        """Mark a new store as a demo's; return whether the demo data has to be added.

        Raises:
            StoreUnfit: the store is in use, and no demo's. Nothing was written.

        """
        return await opening.mark_demo(self._partitions)

    async def mark_seeded(self) -> None:
        await self.run(MarkDemo("seeded"))

    async def accept_loss(self, incarnation: str) -> bool:
        """Use the store as it is from now on, with another incarnation; return False if it lost nothing."""
        return bool(losses_of(await self.read_meta())) and await opening.accept_loss(
            self._partitions, incarnation
        )

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._router, self._partitions = self._partition, Partitions(self._partition, 1)
        is_new = self._initialise
        if self._server:
            is_new = self._server.is_new
            await self._resources.enter_async_context(self._server)
            self._url = self._server.url
        if self._url is None:
            fake = FakeClient(self._clock)
            self._partition.connect(fake)
            self._resources.push_async_callback(fake.aclose)
            await self._take_over(is_new=is_new)
        else:
            client = self._client = new_client(self._url, self._data, self._options)
            self._resources.push_async_callback(client.aclose)
            self._partition.connect(client)
            self._data.reset()
            await client.check()
            await self._take_over(is_new=is_new)
            for server in client.servers:
                await opening.remove_earlier_scripts(server, self._library)
            await client.check()
            client.watch(CHECK_INTERVAL_S)
        if self._server:
            self._server.mark_initialised()

    async def _take_over(self, *, is_new: bool) -> None:
        """Read the meta record; initialise or migrate the store if need be, and check it."""
        meta = await self.read_meta()
        if is_new and (not meta or meta.get("schema") == INITIALISING):
            if not self._server and self._keys.namespace == Keys().namespace:
                await opening.require_empty(self._partition, self._client.servers if self._client else ())
            meta = await opening.initialise(self._partition, self._timezone, self._new_partitions)
        if is_migratable(meta) and self.migrates:
            require_ours({**meta, "schema": SCHEMA}, self._timezone)
            if self.is_for_demo:
                await opening.require_demo(self._partition, meta)
            await migrate(self._partition, meta, wait_s=self._migration_wait_s)
            self.was_migrated = True
            meta = await self.read_meta()
        require_ours(meta, self._timezone)
        metas = [meta]
        self._partition.reference_key = meta.get("created_at", "").encode()
        count = int(meta["partitions"])
        if count == 1 and self._client is not None and self._client.is_cluster:
            raise StoreUnfit("the store has one partition: it can only be used on a server that is no cluster")
        if count > 1:
            self._router = self._partitions = Partitions(self._partition, count)
            metas = await opening.guard(self._partitions)
        if self.tolerates_loss and any(map(losses_of, metas)):
            return  # only its server is checked
        require_one_store(metas, self._timezone)
        self._data.adopt(meta)
