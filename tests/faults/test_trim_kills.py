"""A trimmer is killed at every step, its store and the server of its archive too; the next trimmer goes on."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGKILL, SIGQUIT
from typing import Any

import pytest
from support.fixtures.archives import is_sqlite
from support.fixtures.store_setup import Setup
from support.fixtures.trimmed_store import SMALL_NODES, Kept, TrimmedStore, take_small_steps
from support.processes.crash_client import Memory
from support.processes.killable_ports import Point
from support.processes.preforked import Preforked, running_preforked
from support.processes.trimmer_child import GAVE_UP
from support.servers.postgresql_server import postgres_server
from support.servers.real_servers import OwnServer, own_server

from technopay.storage import RedisStore
from technopay.storage.archive.archive import Archive

ALARM_S = 60
KILLS_MIN = {"trimmer": 8, "store": 12, "server": 9}
"""Of each kind of archive, or of store, and of each kind of point."""
OF_STORE = {"hmget", "hkeys", "xrange", "zscan", "claim_trim", "trim_journal", "drop_records"}
WRITTEN = {"insert checkpoint_rows", "insert checkpoints", "delete checkpoint_rows"}
READ = {
    "select checkpoints",
    "select events",
    "select checkpoint_rows",
    "select payments",
    "select invoices",
    "count checkpoint_rows",
}
ALL = {
    *(f"{moment} {name}" for name in OF_STORE | WRITTEN | READ for moment in ("before", "after")),
    *(f"within {name}" for name in WRITTEN),
}
"""Every request of a trimmer behind an earlier checkpoint, and every statement in a transaction."""
numbers = itertools.count()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    take_small_steps(monkeypatch.setattr)


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnServer]:
    with own_server("valkey", None, *SMALL_NODES) as server:
        yield server


@pytest.fixture
async def preforked() -> AsyncIterator[Preforked]:
    async with running_preforked("trim") as preforked:
        yield preforked


@dataclass
class Kills:
    """A store and an archive in the same state before each kill, and what an undisturbed trimmer made of it."""

    server: OwnServer
    namespace: str
    location: str
    preforked: Preforked
    folder: Path
    log: Path = field(init=False)
    trimmed: TrimmedStore = field(init=False)
    kept: Kept = field(init=False)
    reads: dict[str, Any] = field(init=False)
    """As they are if nothing left the store."""
    state: dict[str, Any] = field(init=False)
    points: Sequence[Point] = ()
    statuses: Counter[int] = field(default_factory=Counter)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[TrimmedStore]:
        """Open the store and its archive; make the history at first, and let an undisturbed trimmer trim it."""
        store = RedisStore.connect(self.server.url, initialise=True, namespace=self.namespace)
        async with store, Archive.at(self.location) as archive:
            if self.points:
                await store.attach(archive)
                yield replace(self.trimmed, setup=Setup(store), archive=archive)
            else:
                self.trimmed = TrimmedStore(Setup(store), archive)
                await self._begin()
                yield self.trimmed

    async def _begin(self) -> None:
        trimmed, url = self.trimmed, self.server.url
        await trimmed.begin()
        await trimmed.make_entries()
        await trimmed.copy()
        await trimmed.make_entries()
        self.kept = await Kept.of(trimmed, url)
        await trimmed.restore_all()
        self.reads = await trimmed.read()
        await self.kept.bring_back(trimmed, url)
        assert await self.run() == 0
        self.points = Memory(self.log).points
        assert {point.name for point in self.points} == ALL
        self.state = await trimmed.state()
        await self.assert_as_undisturbed(trimmed)
        assert await trimmed.read() == self.reads
        await self.kept.bring_back(trimmed, url)

    async def run(
        self,
        point: Point | None = None,
        victim: tuple[int, int] | None = None,
        restart: Callable[[], None] | None = None,
    ) -> int:
        """Trim in a process that is killed at a point, or whose victim is; return its status."""
        self.log = self.folder / f"trimmer{next(numbers)}"
        self.log.touch()
        await self.preforked.raise_child(
            url=self.server.url, namespace=self.namespace, location=self.location, point=point, victim=victim,
            log=str(self.log), output=f"{self.log}.log", alarm_s=ALARM_S,
        )  # fmt: skip
        if restart:
            await asyncio.to_thread(restart)
        status = await self.preforked.wait_for_end()
        self.statuses[status] += 1
        passed = Memory(self.log).points
        if victim:
            assert status in (0, GAVE_UP), f"see {self.log}.log"
            assert point in passed
        elif point:
            assert (status, passed[-1]) == (-SIGKILL, point), f"see {self.log}.log"
        return status

    def chosen(self, names: Collection[str], passes: Mapping[str, int] | None = None) -> list[Point]:
        """Return the points of these requests: of the first pass, or of so many behind one."""
        return [
            point
            for point in self.points
            for moment, _, name in (point.name.partition(" "),)
            if name in names and point.nth <= ((passes or {}).get(name, 1) if moment != "before" else 1)
        ]

    async def go_on(self, trimmed: TrimmedStore) -> None:
        """Read what a trimmer left, let the next one go on, and bring back the state before."""
        assert await trimmed.read() == self.reads
        assert (await trimmed.store.audit()).clean
        await trimmed.end_claim()
        await trimmed.trimmer().run()
        await self.assert_as_undisturbed(trimmed)
        await self.kept.bring_back(trimmed, self.server.url)

    async def assert_as_undisturbed(self, trimmed: TrimmedStore) -> None:
        found, rows = await trimmed.state(), [*self.kept.tables["checkpoint_rows"], *self.state["rows"]]
        # Those of earlier checkpoints can leave sooner or later.
        assert set(found.pop("checkpoint_rows")) <= set(rows)
        for name, kept in found.items():
            assert kept == self.state[name], name
        await trimmed.assert_clean()

    async def end(self, trimmed: TrimmedStore) -> None:
        """Archive and trim what is left; refund a payment that ended before the first cut; trim again."""
        for _ in range(2):
            await trimmed.make_entries()
            reads, entries = await trimmed.read(), await trimmed.read_journal()
            await trimmed.trim()
            assert await trimmed.read() == reads
            state = await trimmed.state()
            assert [f"{row[1]}-{row[2]}" for row in state["events"]] == [each.id for each in entries]
            assert [entry_id for entry_id, _ in state["journal"]] == [entries[-1].id]
            await trimmed.assert_clean()
            assert await trimmed.checkpoints_not_of_the_journal() == []
            assert {row[1:3] for row in state["checkpoint_rows"]} == {
                row[1:3] for row in state["checkpoints"][-2:]
            }


@pytest.fixture
def kills(
    valkey: OwnServer, namespace: str, archive_location: str, preforked: Preforked, tmp_path: Path
) -> Kills:
    return Kills(valkey, namespace, archive_location, preforked, tmp_path)


@pytest.mark.parametrize("of", ["the_store", "what_is_read", "what_is_written"])
async def test_a_trimmer_that_is_killed_anywhere_leaves_all_history_to_be_read_and_the_next_goes_on(
    kills: Kills, of: str
) -> None:
    names = {"the_store": OF_STORE, "what_is_read": READ, "what_is_written": WRITTEN}[of]
    passes = dict.fromkeys(names, 2 if is_sqlite(kills.location) else 1)
    async with kills.opened() as trimmed:
        for point in kills.chosen(names, passes):
            await kills.run(point)
            await kills.go_on(trimmed)
        await kills.end(trimmed)
    assert {point.name for point in kills.points} == ALL
    assert kills.statuses[-SIGKILL] >= KILLS_MIN["trimmer"]


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_store_that_is_killed_while_its_journal_is_trimmed_loses_nothing(
    kind: str, namespace: str, preforked: Preforked, tmp_path: Path
) -> None:
    with own_server(kind, None, *SMALL_NODES) as server:
        kills = Kills(server, namespace, str(tmp_path / "archive" / "archive.db"), preforked, tmp_path)

        def restart() -> None:
            server.wait_until_ended()
            server.start()

        async with kills.opened():
            chosen = kills.chosen(OF_STORE | {"insert checkpoints"}, {"trim_journal": 2})
        for point in chosen:
            await kills.run(point, (server.pid, SIGKILL), restart)
            async with kills.opened() as trimmed:
                await kills.go_on(trimmed)
        async with kills.opened() as trimmed:
            await kills.end(trimmed)
    assert len(chosen) >= KILLS_MIN["store"]


async def test_an_archive_whose_server_is_killed_while_a_checkpoint_is_made_loses_nothing(
    valkey: OwnServer, namespace: str, preforked: Preforked, tmp_path: Path
) -> None:
    with postgres_server() as server:
        kills = Kills(valkey, namespace, await server.new_schema(), preforked, tmp_path)
        async with kills.opened():
            chosen = kills.chosen(WRITTEN)
        for point in chosen:
            await kills.run(point, (server.pid, SIGQUIT))  # it ends its processes, and rolls nothing back
            server.start_again()
            async with kills.opened() as trimmed:
                await kills.go_on(trimmed)
        async with kills.opened() as trimmed:
            await kills.end(trimmed)
    assert len(chosen) >= KILLS_MIN["server"]
