"""Fixtures that all tests share: the three kinds of store, each test in a namespace of its own."""

import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from support.fixtures import placed_keys
from support.fixtures.audit import assert_books_balance, assert_clean
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import lax_settings
from support.fixtures.http_api import Api, running_api
from support.fixtures.old_store import OldStore, load_old_store
from support.servers.cluster_server import ClusterServer, cluster_server
from support.servers.postgresql_server import PostgresServer, postgres_server
from support.servers.raw_client import flush
from support.servers.real_servers import find_server, running_server

from technopay.engine import Engine, EngineSettings
from technopay.storage import RedisStore

COLLECTED_BEFORE_S = 4 * 3600
PARTITIONED, CLUSTER = "partitioned", "cluster"
"""Stores of three partitions, faked and on a cluster, for modules with the mark `any_partition`.

alice and bob share a partition.
"""
REPEATS = pytest.StashKey[bool]()
"""Whether a test runs on a faked store, too."""
_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", type=int, metavar="N", help="kill the engine N times and the store half as often"
    )
    parser.addoption("--cluster", action="store_true", help="run the tests of clusters on Redis, too")
    parser.addoption("--cases", type=int, metavar="N", help="search the API with at least N cases")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what the processes of tests inherit.

    Signals that are ignored under nohup or in the background get a handler that does nothing: commands
    inherit ignored signals, but no handlers, and the commands of tests have to receive signals. Coverage is
    measured in the processes of pytest only: it would slow the start of every command down by half.
    """
    if getattr(config.option, "numprocesses", None) is None or hasattr(config, "workerinput"):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
        for name in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(name) is signal.SIG_IGN:
                signal.signal(name, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import tests as if hours ago: values made at import have to stay valid for a run of any length."""
    now = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: now() - COLLECTED_BEFORE_S)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count lines once for a test that runs on all kinds of stores: counting takes as long as the test."""
    trace = sys.gettrace()
    if trace is None or not item.stash[REPEATS]:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)


def _kind_of_store(item: pytest.Item) -> object:
    """Return the kind of store of a test that is run on all of them."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    return item.callspec.params.get("make_store", item.callspec.params.get("old_store"))


def _mark_repeats(items: list[pytest.Item]) -> None:
    faked = {item.nodeid for item in items if _kind_of_store(item) == "fake"}
    for item in items:
        function, bracket, parameters = item.nodeid.partition("[")
        named = parameters.replace(str(_kind_of_store(item)), "fake", 1)
        item.stash[REPEATS] = item.nodeid not in faked and f"{function}{bracket}{named}" in faked


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the stores of several partitions only for tests with the mark `any_partition`."""
    _mark_repeats(items)
    is_wanted = {
        "on_both_clusters": config.getoption("cluster"),
        "in_long_runs": config.getoption("faults"),
    }
    items[:] = [
        item
        for item in items
        if all(is_on or not item.get_closest_marker(mark) for mark, is_on in is_wanted.items())
        and (item.get_closest_marker("any_partition") or _kind_of_store(item) not in (PARTITIONED, CLUSTER))
    ]


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with running_server("valkey") as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    if find_server("redis") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have redis-server")
        pytest.skip("Debian's redis-server is not installed")
    with running_server("redis") as url:
        yield url


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[ClusterServer]:
    with cluster_server("redis" if pytestconfig.getoption("cluster") else "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def cluster_url(cluster: ClusterServer) -> str:
    return cluster.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def archive_location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of a new archive, of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "archive" / "archive.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return await server.new_schema()


@pytest.fixture
def namespace() -> str:
    return f"test{os.getpid()}x{next(_numbers)}"


@pytest.fixture(params=["valkey", "redis"])
def server_url(request: pytest.FixtureRequest) -> str:
    """The URL of a real server, of either kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def is_corrupted(request: pytest.FixtureRequest) -> bool:
    """Whether the test leaves a store whose books cannot balance; all others are audited at the end.

    One whose journals are trimmed is audited with its archive, by the fixture `trimming`.
    """
    is_marked = request.node.get_closest_marker("corrupts") is not None
    return is_marked or "trimming" in request.fixturenames


@pytest.fixture(params=["fake", "valkey", "redis", PARTITIONED, CLUSTER])
async def make_store(
    request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch, *, is_corrupted: bool
) -> AsyncIterator[Callable[[], RedisStore]]:
    """Make unopened stores of one kind. On a server they are the same store; each fake is a new one."""
    if request.param == "fake":
        yield lambda: RedisStore.fake(namespace=namespace)
        return
    partitions = 3 if request.param in (PARTITIONED, CLUSTER) else 1
    monkeypatch.setattr(placed_keys, "PARTITIONS", partitions)
    if request.param == PARTITIONED:
        yield lambda: RedisStore.fake(namespace=namespace, partitions=partitions)
        return
    url: str = request.getfixturevalue(f"{request.param}_url")
    yield lambda: RedisStore.connect(url, initialise=True, namespace=namespace, partitions=partitions)
    if not is_corrupted:
        await assert_books_balance(url, namespace)
    await flush(url)


@pytest.fixture
async def store(make_store: Callable[[], RedisStore], *, is_corrupted: bool) -> AsyncIterator[RedisStore]:
    async with make_store() as opened:
        yield opened
        # A store on a server is audited by `make_store`.
        if opened.url is None and opened.is_open and not is_corrupted:
            await assert_clean(opened)


@pytest.fixture
def old_schema() -> str:
    return "4"


@pytest.fixture(params=["fake", "valkey", "redis"])
async def old_store(
    request: pytest.FixtureRequest, namespace: str, old_schema: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OldStore]:
    """A store of an earlier schema with a record of each kind, on each kind of store, unopened."""
    if request.param == "fake":
        shared = FakeServer()
        client = FakeAsyncRedis(server=shared, decode_responses=True)
        monkeypatch.setattr("fakeredis.FakeServer", lambda: shared)
        facts = await load_old_store(client, namespace, old_schema)
        yield OldStore(lambda: RedisStore.fake(namespace=namespace), client, facts)
        return
    url: str = request.getfixturevalue(f"{request.param}_url")
    async with Redis.from_url(url, decode_responses=True) as server:
        facts = await load_old_store(server, namespace, old_schema)

        def make() -> RedisStore:
            store = RedisStore.connect(url, namespace=namespace)
            store.migrates, store._migration_wait_s = True, 0.0  # a fake has no engine of the earlier version
            return store

        yield OldStore(make, server, facts)
        await server.flushdb()


@pytest.fixture
async def fake_store(*, is_corrupted: bool) -> AsyncIterator[RedisStore]:
    async with RedisStore.fake() as opened:
        yield opened
        if opened.is_open and not is_corrupted:
            await assert_clean(opened)


@pytest.fixture
def settings() -> EngineSettings:
    return lax_settings()


@pytest.fixture
async def engine(store: RedisStore, settings: EngineSettings) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(Engine(store, settings))


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of every faked store, at noon of a day in July until it is set."""
    clock = FakeClock(1_783_252_800_000)
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.time", clock)
    return clock


@pytest.fixture
async def api(fake_store: RedisStore) -> AsyncIterator[Api]:
    """The API over HTTP, on a faked store."""
    async with running_api(fake_store) as served:
        yield served


@pytest.fixture
async def any_api(store: RedisStore) -> AsyncIterator[Api]:
    """The API over HTTP, on each kind of store."""
    async with running_api(store) as served:
        yield served
