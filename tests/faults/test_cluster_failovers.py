"""Faults of a cluster under load: no acknowledged payment is lost or debited twice, and other shards go on."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, is_served, lax_settings, make_setup, wait_for
from support.fixtures.fixed_code import open_store
from support.fixtures.placed_keys import partition_of
from support.processes.cluster_traffic import PARTITIONS, Traffic, cluster_traffic
from support.processes.service import run_command
from support.servers.cluster_server import ClusterServer, cluster_server
from support.servers.slot_moves import SlotMove

from technopay.cli.cluster.moving import move_partition
from technopay.engine import Engine, OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys
from technopay.storage.server.slot_map import slot_of

LAG_S, STOPPED_S = 0.8, 6.0
USER = "user0"


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.on_both_clusters)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own_cluster(kind: str) -> Iterator[ClusterServer]:
    with cluster_server(kind) as running:
        yield running


@pytest.fixture
async def traffic(own_cluster: ClusterServer) -> AsyncIterator[Traffic]:
    async with cluster_traffic(own_cluster.url, "tp", wait_replicas=1) as running:
        yield running
        await asyncio.to_thread(own_cluster.wait_until_whole)


async def kill_a_primary(cluster: ClusterServer) -> None:
    """Kill a primary; it comes back as the replica of its replica."""
    [number, *_] = cluster.primaries()
    cluster.nodes[number].end()
    await until_replaced(cluster, number)
    cluster.nodes[number].start()


async def lose_a_machine(cluster: ClusterServer) -> None:
    """Lose a primary with its disk, while its replica is behind."""
    [number, *_] = cluster.primaries()
    replica = cluster.nodes[cluster.replica_of(number)]
    replica.end()
    await asyncio.sleep(LAG_S)
    lose(cluster, number)
    replica.start()
    await until_replaced(cluster, number)
    cluster.nodes[number].start()


def lose(cluster: ClusterServer, number: int) -> None:
    """Kill a node and remove its data; it stays a member of the cluster."""
    cluster.nodes[number].end()
    shutil.rmtree(cluster.nodes[number].folder / "appendonlydir")


async def stop_a_primary(cluster: ClusterServer) -> None:
    """Stop a primary; it goes on after it was replaced."""
    [number, *_] = cluster.primaries()
    cluster.nodes[number].pause()
    await asyncio.sleep(STOPPED_S)
    cluster.nodes[number].resume()


async def lose_a_shard(cluster: ClusterServer) -> None:
    """Lose a primary and its replica at once, and start both again."""
    [number, *_] = cluster.primaries()
    nodes = [cluster.nodes[each] for each in (number, cluster.replica_of(number))]
    for node in nodes:
        node.end()
    await asyncio.sleep(1)
    for node in nodes:
        node.start()


async def fail_over(cluster: ClusterServer) -> None:
    """Hand a primary's slots over to its replica, as planned."""
    [number, *_] = cluster.primaries()
    cluster.nodes[cluster.replica_of(number)].say("CLUSTER", "FAILOVER")
    await until_replaced(cluster, number)


async def until_replaced(cluster: ClusterServer, number: int) -> None:
    async def is_replaced() -> bool:
        return number not in await asyncio.to_thread(cluster.primaries)

    await wait_for(is_replaced, within_s=30)


async def move_a_slot(cluster: ClusterServer) -> None:
    """Move a partition with users in it to another primary, as an operator does."""
    partition = partition_of(USER, PARTITIONS)
    source = cluster.owner_of(Keys("tp", partition))
    target = next(each for each in cluster.primaries() if each != source)
    await asyncio.to_thread(cluster.wait_until_whole)
    await move_partition(cluster.url, partition, ("127.0.0.1", cluster.ports[target]), 1, lambda _: None)


async def break_a_move_off(cluster: ClusterServer) -> None:
    """Lose the target of an atomic move in its middle, or leave one key by key half done and go on with it."""
    await asyncio.to_thread(cluster.wait_until_whole)
    keys = Keys("tp", partition_of(USER, PARTITIONS))
    if not cluster.is_atomic:
        move = SlotMove.begin(cluster, keys)
        await asyncio.to_thread(move.move_keys, lambda name: hash(name) % 2 == 0)
        await asyncio.sleep(0.5)
        to = ("127.0.0.1", cluster.ports[move.target])
        await move_partition(cluster.url, keys.partition, to, 1, lambda _: None)
        return
    source = cluster.owner_of(keys)
    target = next(each for each in cluster.primaries() if each != source)
    slot, target_id = slot_of(keys.tag), cluster.id_of(target)
    cluster.nodes[source].say("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target_id)
    cluster.nodes[target].end()
    await until_replaced(cluster, target)
    cluster.nodes[target].start()


FAULTS = [
    kill_a_primary, lose_a_machine, stop_a_primary, lose_a_shard, fail_over, move_a_slot, break_a_move_off,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS[:-1])
async def test_a_fault_loses_nothing_that_was_acknowledged(
    own_cluster: ClusterServer, traffic: Traffic, fault: Callable[[ClusterServer], Coroutine[Any, Any, None]]
) -> None:
    await fault(own_cluster)


@pytest.mark.parametrize(
    "frozen_s", [0.9, *(pytest.param(each, marks=pytest.mark.on_both_clusters) for each in (1.5, 5.0))]
)
async def test_a_frozen_replica_costs_time_and_nothing_else(
    own_cluster: ClusterServer, traffic: Traffic, frozen_s: float
) -> None:
    [number, *_] = own_cluster.primaries()
    replica = own_cluster.nodes[own_cluster.replica_of(number)]
    replica.pause()
    await asyncio.sleep(frozen_s)
    replica.resume()
    await traffic.progress()
    if frozen_s < 1:
        assert set(traffic.codes) == {"ok"}


@pytest.mark.timeout(7200)
async def test_many_faults_lose_nothing_that_was_acknowledged(
    own_cluster: ClusterServer, traffic: Traffic, pytestconfig: pytest.Config
) -> None:
    """--faults gives their number. Each kind comes in turn, and every third one kills an engine, too."""
    count = pytestconfig.getoption("faults") or 2
    happened: Counter[str] = Counter()
    for number in range(count):
        fault = FAULTS[(number - count) % len(FAULTS)]
        if number % 3 == 2:
            await traffic.restart_engine(number % len(traffic.engines))
            happened["engine killed"] += 1
        await fault(own_cluster)
        happened[fault.__name__] += 1
        await traffic.progress(1)
        await asyncio.to_thread(own_cluster.wait_until_whole)
    print(f"\n{dict(happened)}: {len(traffic.paid)} acknowledged payments, {dict(traffic.codes)}")  # noqa: T201


async def test_a_loss_closes_all_partitions_until_an_operator_accepts_it(
    own_cluster: ClusterServer, tmp_path: Path
) -> None:
    """Without a wait for replicas, a failover can lose what was acknowledged."""
    accept = partial(run_command, tmp_path, "accept-loss", "--redis", own_cluster.url, "--yes")
    async with (
        open_store(own_cluster.url, "tp", partitions=PARTITIONS) as store,
        Engine(store, lax_settings()) as engine,
    ):
        setup = await make_setup(engine, store)
        primary = own_cluster.owner_of(Keys("tp", store.partition_of(setup.user_id)))
        replica = own_cluster.nodes[own_cluster.replica_of(primary)]
        others = [each for each in map(str, range(50)) if own_cluster.owner_of(keys_of(store, each)) != primary]
        await engine.create_user(user_id=others[0], email="other@example.com")
        async with await engine.events(user_id=setup.user_id) as events:
            replica.end()
            await setup.start()
            await asyncio.wait_for(anext(events), 10)
        lose(own_cluster, primary)
        replica.start()
        await until_replaced(own_cluster, primary)

        async def is_closed(user_id: str) -> bool:
            try:
                await engine.get_user(user_id=user_id)
            except (StoreUnavailable, OutcomeUnknown) as error:
                return "lost data: entry" in str(error)
            return False

        for user_id in (setup.user_id, others[0]):
            assert await wait_for(partial(is_closed, user_id), within_s=20)
        own_cluster.nodes[primary].start()
        with pytest.raises(StoreUnfit, match="lost data: entry"):
            await open_store(own_cluster.url, "tp").open()
        accepted = await asyncio.to_thread(accept)
        assert (accepted.returncode, accepted.stderr) == (0, "")

    async with open_store(own_cluster.url, "tp") as store, Engine(store, lax_settings()) as engine:
        again = Setup(engine, store, setup.user_id, setup.wallet)
        assert (await again.pay()).status == "succeeded"
    await assert_books_balance(own_cluster.url, "tp")


def keys_of(store: RedisStore, user_id: str) -> Keys:
    return Keys("tp", store.partition_of(user_id))


async def test_with_a_shard_gone_the_users_of_the_others_pay_and_the_server_stays_ready(
    own_cluster: ClusterServer,
) -> None:
    async with (
        open_store(own_cluster.url, "tp", partitions=PARTITIONS) as store,
        Engine(store, lax_settings()) as engine,
    ):
        by_node: dict[int, Setup] = {}
        for user in map(str, range(50)):
            if (owner := own_cluster.owner_of(keys_of(store, user))) not in by_node:
                by_node[owner] = await make_setup(engine, store, user, email="any@example.com")
        assert len(by_node) == 3
        assert (await engine.measure()).partitions_unreachable == 0

        gone = own_cluster.owner_of(Keys("tp", 0))  # the store's own records are in the first partition
        nodes = [own_cluster.nodes[each] for each in (gone, own_cluster.replica_of(gone))]
        for node in nodes:
            node.end()
        with pytest.raises((StoreUnavailable, OutcomeUnknown)):
            await by_node[gone].balance()
        for owner in by_node.keys() - {gone}:
            assert (await by_node[owner].pay()).status == "succeeded"
        await engine.check()
        gauges = await engine.measure()
        assert 0 < gauges.partitions_unreachable < PARTITIONS

        for node in nodes:
            node.start()
        await wait_for(partial(is_served, by_node[gone]), within_s=30)
        assert (await engine.measure()).partitions_unreachable == 0
    await assert_books_balance(own_cluster.url, "tp")
