"""`technopay cluster check` and `cluster move`, as a person runs them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from redis.exceptions import ResponseError
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, lax_settings, make_setup, wait_for
from support.processes.service import assert_one_line, run_command
from support.servers.cluster_server import SETTINGS, ClusterServer, cluster_server, node_port
from support.servers.real_servers import OwnServer, own_server
from support.servers.slot_moves import SlotMove

from technopay.engine import Engine
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys
from technopay.storage.server.slot_map import SLOTS, slot_of

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

    [other] = {0, 1, 2} - {move.source, move.target}
    for elsewhere in (other, move.source):
        words = ("--partition", f"{keys.partition:02x}", "--to", address(own_cluster, elsewhere))
        assert_one_line(await run(command, "move", *words), 1, "is on its way")

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
        (1, "is not a primary of the cluster; those are", ("--partition", "01", "--to", replica)),
        (1, "is not a primary of the cluster; those are", ("--partition", "01", "--to", "127.0.0.1:1")),
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


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_store_of_several_partitions_on_one_server_becomes_a_cluster_without_a_key_rewritten(
    kind: str, tmp_path: Path
) -> None:
    """As in docs/scaling.md: the server is the first node of a cluster; partitions are moved to new ones."""
    ports: list[int] = []
    for _ in range(3):
        ports.append(node_port(ports))
    at = "127.0.0.1"
    with own_server(kind, None, "--port", str(ports[0]), "--bind", at) as server:
        url = f"redis://127.0.0.1:{ports[0]}"
        async with (
            RedisStore.connect(url, initialise=True, partitions=16) as store,
            Engine(store, lax_settings()) as engine,
        ):
            setup = await make_setup(engine, store)
            paid = await setup.pay()
        before = {key: server.say("TYPE", key) for key in server.say("KEYS", "*")}
        server.end()

        with ExitStack() as stack:
            bound = ("--bind", at, *SETTINGS)
            nodes = [
                stack.enter_context(own_server(kind, folder, "--port", str(port), *bound))
                for folder, port in zip((server.folder, None, None), ports, strict=True)
            ]
            first, second, replica = nodes
            # It has taken the slots of its keys by itself.
            taken = {slot_of(Keys(partition=number).tag) for number in range(16)}
            first.say("CLUSTER", "ADDSLOTS", *(slot for slot in range(SLOTS) if slot not in taken))
            for port in ports[1:]:
                first.say("CLUSTER", "MEET", "127.0.0.1", port)
            await wait_for(partial(follows, replica, second), within_s=30)
            await wait_for(partial(serves, first), within_s=30)
            assert {key: first.say("TYPE", key) for key in first.say("KEYS", "*")} == before

            url = f"redis+cluster://127.0.0.1:{ports[0]}"
            settings = {"TECHNOPAY_REDIS_URL": url}
            command = partial(run_command, tmp_path, settings=settings)
            async with RedisStore.connect(url) as store, Engine(store, lax_settings()) as engine:
                again = Setup(engine, store, setup.user_id, setup.wallet)
                assert (await again.payment(paid)).status == "succeeded"
                partition = f"{store.partition_of(setup.user_id):02x}"
                words = ("move", "--partition", partition, "--to", f"127.0.0.1:{ports[1]}")
                moved = await wait_for(partial(is_moved, command, words), within_s=60)
                assert moved, "a node without slots gets its first one"
                assert (await again.pay()).status == "succeeded"
                assert second.say("DBSIZE") > 0
                assert await again.balance() == setup.wallet.balance - 2 * paid.amount
            await assert_books_balance(url, "tp")


async def serves(node: OwnServer) -> bool:
    return "cluster_state:ok" in str(node.say("CLUSTER", "INFO"))


async def follows(replica: OwnServer, primary: OwnServer) -> bool:
    """Make a node the replica of another one, once it knows it."""
    try:
        replica.say("CLUSTER", "REPLICATE", primary.say("CLUSTER", "MYID"))
    except ResponseError:
        return False
    return True


async def is_moved(command: Run, words: Sequence[str]) -> bool:
    """Move, once the replica of the target is in step."""
    return (await run(command, *words)).returncode == 0
