"""Faults of a cluster under load: what was acknowledged is there, once, and the others go on."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, lax_settings, make_setup, wait_for
from support.fixtures.fixed_code import open_store
from support.processes.cluster_traffic import PARTITIONS, Traffic, cluster_traffic
from support.processes.service import run_command
from support.servers.cluster_server import ClusterServer, cluster_server

from technopay.engine import Engine, OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys

LAG_S, STOPPED_S = 0.8, 6.0


@pytest.fixture(params=["valkey", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own_cluster(kind: str) -> Iterator[ClusterServer]:
    with cluster_server(kind) as running:
        yield running


@pytest.fixture
async def traffic(own_cluster: ClusterServer, namespace: str) -> AsyncIterator[Traffic]:
    async with cluster_traffic(own_cluster.url, namespace, wait_replicas=1) as running:
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


FAULTS = [kill_a_primary, lose_a_machine, stop_a_primary, lose_a_shard, fail_over]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_loses_nothing_that_was_acknowledged(
    own_cluster: ClusterServer, traffic: Traffic, fault: Callable[[ClusterServer], Coroutine[Any, Any, None]]
) -> None:
    await fault(own_cluster)


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
