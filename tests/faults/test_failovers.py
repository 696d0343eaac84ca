"""Failovers to a replica, by a Sentinel: what was lost closes the store, until an operator accepts it."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, is_served, lax_settings, make_setup, wait_for
from support.processes.service import assert_one_line, run_command
from support.servers.replicated_server import ReplicatedServer, replicated_server
from support.servers.sentinel_server import Sentinel, sentinel_of

from technopay.engine import Engine, EventPositionUnknown, StoreUnavailable, StoreUnfit
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys
from technopay.storage.server.client import ServerClient
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.health import HealthCheck

FAILOVER_S_MAX = 30.0


@pytest.fixture
def server(kind: str) -> Iterator[ReplicatedServer]:
    with replicated_server(kind, "--replica-priority", "1") as running:
        yield running


@pytest.fixture
def sentinel(kind: str, server: ReplicatedServer) -> Iterator[Sentinel]:
    with sentinel_of(kind, server) as running:
        yield running


def connect(sentinel: Sentinel) -> RedisStore:
    return RedisStore.connect(sentinel.store_url, initialise=True, reply_timeout_s=0.5)


async def wait_until_known(sentinel: Sentinel) -> None:
    """Wait until the Sentinel knows a replica that it can promote."""

    async def look() -> bool:
        found = sentinel.say("SENTINEL", "REPLICAS", "main")
        return [each["master-link-status"] for each in found] == ["ok"]

    await wait_for(look, within_s=FAILOVER_S_MAX)


async def wait_for_failover(sentinel: Sentinel, server: ReplicatedServer) -> None:
    async def look() -> bool:
        return sentinel.primary_port() != server.port

    await wait_for(look, within_s=FAILOVER_S_MAX)


async def is_closed(engine: Engine, words: str) -> bool:
    try:
        await engine.check()
    except StoreUnavailable as error:
        return words in str(error)
    return False


async def lose_an_entry(server: ReplicatedServer, setup: Setup) -> str:
    """Make the primary end with an event that no replica has; return its id."""
    [replica] = server.replicas
    async with await setup.engine.events(user_id="alice") as events:
        await setup.pay()
        for _ in range(4):
            await anext(events)
        server.wait_for_replicas(1)
        replica.end()
        await setup.pay()
        event = await asyncio.wait_for(anext(events), 5)
    server.primary.end()
    replica.start()
    return event.id


@pytest.mark.parametrize("is_planned", [False, True])
async def test_a_failover_without_a_loss_is_followed(
    server: ReplicatedServer, sentinel: Sentinel, is_planned: bool
) -> None:
    async with connect(sentinel) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        paid = await setup.pay()
        await wait_until_known(sentinel)
        server.wait_for_replicas(1)
        if is_planned:
            sentinel.say("SENTINEL", "FAILOVER", "main")
        else:
            server.primary.end()
        await wait_for_failover(sentinel, server)
        await wait_for(partial(is_served, setup), within_s=FAILOVER_S_MAX)

        assert (await engine.find_payment(payment_id=paid.id)).status == "succeeded"
        assert (await setup.pay()).status == "succeeded"
        [replica] = server.replicas
        await assert_books_balance(replica.url, "tp")


async def test_a_loss_closes_the_store_for_all_until_an_operator_accepts_it(
    server: ReplicatedServer, sentinel: Sentinel, tmp_path: Path
) -> None:
    accept = partial(run_command, tmp_path, "accept-loss", "--redis", sentinel.store_url)
    async with connect(sentinel) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        await wait_until_known(sentinel)
        nothing = await asyncio.to_thread(accept)
        assert (nothing.returncode, nothing.stderr) == (1, "")
        assert "not known to have lost anything" in nothing.stdout

        lost = await lose_an_entry(server, setup)
        await wait_for_failover(sentinel, server)
        await wait_for(partial(is_closed, engine, "lost data: entry"), within_s=FAILOVER_S_MAX)
        with pytest.raises(StoreUnfit, match=r"lost data: entry .* accept-loss"):
            await connect(sentinel).open()
        audit = await asyncio.to_thread(run_command, tmp_path, "audit", "--redis", sentinel.store_url)
        assert audit.returncode == 0, "it can be audited before the loss is accepted"

        unsure = await asyncio.to_thread(accept)
        assert_one_line(unsure, 2, "was not accepted")
        with pytest.raises(StoreUnfit, match="lost data: entry"):
            await connect(sentinel).open()
        accepted = await asyncio.to_thread(accept, "--yes")
        assert (accepted.returncode, accepted.stderr) == (0, "")
        assert " is missing; the last one before it is " in accepted.stdout
        assert (await asyncio.to_thread(accept, "--yes")).returncode == 1

        # An engine that saw the lost entry has copies of it: it does not go on by itself.
        await wait_for(partial(is_closed, engine, "was replaced by another one"), within_s=FAILOVER_S_MAX)

    async with connect(sentinel) as store, Engine(store, lax_settings()) as engine:
        with pytest.raises(EventPositionUnknown):
            await engine.events(user_id="alice", after=lost)
        again = Setup(engine, store, setup.user_id, setup.wallet)
        assert (await again.pay()).status == "succeeded"
        [replica] = server.replicas
        await assert_books_balance(replica.url, "tp")


async def test_a_connection_to_a_server_that_became_a_replica_is_given_up(server: ReplicatedServer) -> None:
    """The next one may reach the primary: a name or a balancer can point to it by then."""
    primary = server.primary
    health = HealthCheck(DataCheck(Keys(), "UTC"), durability="always")
    client = ServerClient(primary.url, reply_timeout_s=1.0, health=health)
    await client.check()
    first = client._connection
    assert first is not None

    primary.say("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreUnfit, match="is a replica"):
        await client.check()
    await asyncio.sleep(0)
    assert first.is_lost

    primary.say("REPLICAOF", "NO", "ONE")
    await client.check()
    assert client._connection is not first
    await client.aclose()


async def test_each_sentinel_that_names_no_primary_is_named(
    server: ReplicatedServer, sentinel: Sentinel
) -> None:
    url = sentinel.store_url.replace("/main", "/other")
    with pytest.raises(StoreUnavailable) as refused:
        await RedisStore.connect(url).open()
    assert str(refused.value) == (
        f"The store cannot be reached: other at the Sentinels 127.0.0.1:1,127.0.0.1:{sentinel.port}: "
        "no Sentinel names the primary (127.0.0.1:1: nothing listens there; "
        f"127.0.0.1:{sentinel.port}: it does not know other)"
    )
    sentinel.pause()
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{sentinel.port}: it does not reply"):
        await connect(sentinel).open()
