"""`technopay cluster check` and `cluster move`, as a person runs them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, lax_settings, make_setup, wait_for
from support.processes.service import assert_one_line, run_command
from support.servers.cluster_server import ClusterServer, cluster_server
from support.servers.slot_moves import SlotMove

from technopay.engine import Engine
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys

PARTITIONS = 32

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def own_cluster(request: pytest.FixtureRequest) -> Iterator[ClusterServer]:
    with cluster_server(getattr(request, "param", "valkey")) as running:
        yield running


@pytest.fixture
async def setup(own_cluster: ClusterServer) -> AsyncIterator[Setup]:
    url = own_cluster.url
    async with (
        RedisStore.connect(url, initialise=True, partitions=PARTITIONS) as store,
        Engine(store, lax_settings()) as engine,
    ):
        yield await make_setup(engine, store)
    await assert_books_balance(url, "tp")


@pytest.fixture
def command(own_cluster: ClusterServer, tmp_path: Path) -> Run:
    """Run a command on the cluster; it has a replica for each primary, which is too few to wait for one."""
    return partial(run_command, tmp_path, settings={"TECHNOPAY_REDIS_URL": own_cluster.url})


async def run(command: Run, *words: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(command, "cluster", *words)


def address(cluster: ClusterServer, number: int) -> str:
    return f"127.0.0.1:{cluster.ports[number]}"


async def test_a_good_cluster_has_no_finding_and_a_bad_one_is_named(
    own_cluster: ClusterServer, setup: Setup, command: Run
) -> None:
    await setup.pay()
    good = await run(command, "check")
    assert (good.returncode, good.stderr) == (0, ""), good.stdout
    assert "no finding" in good.stdout
    for number in range(3):
        assert address(own_cluster, number) in good.stdout
    assert "note: TECHNOPAY_WAIT_REPLICAS is 0" in good.stdout

    own_cluster.nodes[0].say("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    own_cluster.nodes[1].say("CONFIG", "SET", "cluster-node-timeout", "20000")
    own_cluster.nodes[2].say("CONFIG", "SET", "appendfsync", "everysec")
    lost = own_cluster.replica_of(0)
    own_cluster.nodes[lost].end()

    async def is_noticed() -> bool:
        return bool(own_cluster.nodes[0].say("INFO", "replication")["connected_slaves"] == 0)

    await wait_for(is_noticed, within_s=20)
    bad = await run(command, "check")
    assert (bad.returncode, bad.stderr) == (1, "")
    for words in (
        f"{address(own_cluster, 0)}: cluster-require-full-coverage is yes",
        f"{address(own_cluster, 1)}: cluster-node-timeout is 20000 ms",
        f"{address(own_cluster, 2)} can lose acknowledged payments: appendfsync is everysec",
        f"{address(own_cluster, 0)}: it has no replica in reach",
    ):
        assert f"finding: {words}" in bad.stdout, bad.stdout
    own_cluster.nodes[2].say("CONFIG", "SET", "appendfsync", "always")


@pytest.mark.parametrize("own_cluster", ["valkey", "redis"], indirect=True)
async def test_a_partition_is_moved_while_it_is_in_use_and_back(
    own_cluster: ClusterServer, setup: Setup, command: Run
) -> None:
    keys = Keys("tp", setup.store.partition_of(setup.user_id))
    source = own_cluster.owner_of(keys)
    for target in ((source + 1) % 3, source):
        name = address(own_cluster, target)
        words = ("move", "--partition", f"{keys.partition:02x}", "--to", name)
        moved = await run(command, *words)
        assert (moved.returncode, moved.stderr) == (0, ""), moved.stdout
        assert moved.stdout.endswith(f"technopay: partition {keys.partition:02x} is at {name}\n")
        assert own_cluster.owner_of(keys) == target
        assert (await setup.pay()).status == "succeeded"
        again = await run(command, *words)
        assert (again.returncode, again.stderr) == (0, "")
        assert f"is already at {name}" in again.stdout


@pytest.mark.parametrize("own_cluster", ["redis"], indirect=True)
async def test_a_move_by_key_that_was_broken_off_is_found_and_goes_on(
    own_cluster: ClusterServer, setup: Setup, command: Run
) -> None:
    keys = Keys("tp", setup.store.partition_of(setup.user_id))
    move = SlotMove.begin(own_cluster, keys)
    move.move_keys(lambda name: "entries:" in name)
    found = await run(command, "check")
    assert found.returncode == 1
    assert f"slot {move.slot} is being moved key by key" in found.stdout

    target = address(own_cluster, move.target)
    moved = await run(command, "move", "--partition", f"{keys.partition:02x}", "--to", target)
    assert (moved.returncode, moved.stderr) == (0, ""), moved.stdout
    assert own_cluster.owner_of(keys) == move.target
    assert (await run(command, "check")).returncode == 0
    assert (await setup.pay()).status == "succeeded"


async def test_nothing_is_moved_to_a_node_whose_replica_is_gone(
    own_cluster: ClusterServer, setup: Setup, command: Run
) -> None:
    """The source deletes its copy at the end, and the target alone would have the partition."""
    keys = Keys("tp", setup.store.partition_of(setup.user_id))
    source = own_cluster.owner_of(keys)
    target = (source + 1) % 3
    own_cluster.nodes[own_cluster.replica_of(target)].end()
    words = ("move", "--partition", f"{keys.partition:02x}", "--to", address(own_cluster, target))
    refused = await run(command, *words)
    assert_one_line(refused, 1, "has 0 of 1 replicas in reach")
    assert own_cluster.owner_of(keys) == source


async def test_what_cannot_be_moved_is_refused_in_one_line(
    own_cluster: ClusterServer, setup: Setup, command: Run
) -> None:
    target = address(own_cluster, 1)
    replica = address(own_cluster, own_cluster.replica_of(0))
    for status, problem, words in (
        (2, "--partition has to be two hexadecimal digits", ("--partition", "1", "--to", target)),
        (2, "--to has to be HOST:PORT", ("--partition", "01", "--to", "here")),
        (1, "the store has partitions 00 to 1f", ("--partition", "ff", "--to", target)),
        (1, "is not a primary with slots; the nodes are", ("--partition", "01", "--to", replica)),
        (1, "is not a primary with slots; the nodes are", ("--partition", "01", "--to", "127.0.0.1:1")),
    ):
        assert_one_line(await run(command, "move", *words), status, problem)


def test_a_cluster_without_a_store_or_in_no_reach_cannot_be_checked(
    own_cluster: ClusterServer, tmp_path: Path
) -> None:
    for url, problem in (
        (own_cluster.url, "there is no store on the cluster: run `technopay init`"),
        ("redis+cluster://127.0.0.1:1", "127.0.0.1:1: nothing listens there"),
        ("redis://127.0.0.1:1", "--redis has to be the URL of a cluster"),
    ):
        assert_one_line(run_command(tmp_path, "cluster", "check", "--redis", url), 2, problem)
