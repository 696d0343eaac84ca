"""A store that holds its replies until replicas have what they show (`wait_replicas`)."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, is_served, lax_settings, make_setup, wait_for
from support.fixtures.store_setup import Setup as StoreSetup
from support.servers.real_servers import OwnServer
from support.servers.replicated_server import ReplicatedServer, replicated_server

from technopay.engine import Engine, OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.storage import RedisStore

WAIT_MS = 200


@pytest.fixture(params=["valkey", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[ReplicatedServer]:
    with replicated_server(kind) as running:
        yield running


def connect(server: OwnServer, **options: Any) -> RedisStore:
    return RedisStore.connect(
        server.url, initialise=True, **{"wait_replicas": 1, "wait_ms": WAIT_MS, **options}
    )


async def test_a_step_is_acknowledged_once_a_replica_has_it_and_happens_once(server: ReplicatedServer) -> None:
    [replica] = server.replicas
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        assert (await setup.pay()).status == "succeeded"
        before = await setup.balance()
        waiting = await setup.start()

        replica.pause()
        confirming = asyncio.create_task(setup.confirm(waiting))
        done, _ = await asyncio.wait([confirming], timeout=2 * WAIT_MS / 1000)
        assert not done, "it was acknowledged without a replica"
        replica.resume()

        assert (await confirming).status == "succeeded"
        assert await setup.balance() == before - waiting.amount
        assert replica.say("XLEN", store._keys.journal) == server.primary.say("XLEN", store._keys.journal)


async def test_without_an_acknowledgement_the_outcome_is_unknown_also_of_a_read(
    server: ReplicatedServer,
) -> None:
    [replica] = server.replicas
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        replica.pause()
        for call in (setup.balance, partial(setup.engine.deposit, wallet_id=setup.wallet_id, amount=1)):
            with pytest.raises((OutcomeUnknown, StoreUnavailable)):
                await call()
        replica.resume()
        assert await wait_for(partial(is_served, setup), within_s=20)


async def test_with_too_few_replicas_nothing_is_accepted_until_they_are_back(server: ReplicatedServer) -> None:
    [replica] = server.replicas
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        entries = server.primary.say("XLEN", store._keys.journal)
        replica.end()
        assert await wait_for(partial(is_refused, setup, "the store has 0 of the 1 replicas"), within_s=20)
        assert server.primary.say("XLEN", store._keys.journal) == entries

        replica.start()
        server.wait_for_replicas(1)
        assert await wait_for(partial(is_served, setup), within_s=20)
        assert (await setup.pay()).status == "succeeded"


async def test_a_store_with_too_few_replicas_is_not_opened(server: ReplicatedServer) -> None:
    with pytest.raises(StoreUnfit, match="the store has 1 of the 2 replicas that have to acknowledge"):
        async with connect(server.primary, wait_replicas=2):
            pass


@pytest.mark.parametrize(
    ("option", "reason", "overruled_by"),
    [
        (("--appendfsync", "everysec"), "can lose acknowledged payments: appendfsync is everysec", "everysec"),
        (("--appendonly", "no"), "is not durable: appendonly is no", "unchecked"),
        (("--rename-command", "CONFIG", "HIDDEN"), "does not show its configuration", "unchecked"),
    ],
)
async def test_a_replica_that_can_lose_data_is_refused_unless_overruled_by_name(
    kind: str, option: tuple[str, ...], reason: str, overruled_by: Any
) -> None:
    with replicated_server(kind, *option) as server:
        with pytest.raises(
            StoreUnfit, match=f"the replica 127.0.0.1:[0-9]+ {reason}.*={overruled_by} overrules"
        ):
            async with connect(server.primary):
                pass
        async with connect(server.primary, durability=overruled_by) as store:
            assert store.is_open


async def test_an_idle_engine_writes_nothing(server: ReplicatedServer) -> None:
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        await setup.pay()

        await wait_until_idle(server)
        before = waits(server)
        await setup.balance()
        assert waits(server) == before + 1


async def test_a_lost_second_connection_costs_no_acknowledged_step(server: ReplicatedServer) -> None:
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        before = await setup.balance()
        for _ in range(5):
            depositing = [
                asyncio.create_task(engine.deposit(wallet_id=setup.wallet_id, amount=1)) for _ in range(20)
            ]
            await asyncio.sleep(0)
            server.primary.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.gather(*depositing)
        assert await setup.balance() == before + 100


async def test_a_second_connection_that_was_idle_and_is_lost_is_opened_again(
    server: ReplicatedServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)

        await wait_until_idle(server)

        def clients() -> dict[str, str]:
            lines = server.primary.say("CLIENT", "LIST", "TYPE", "normal").splitlines()
            return dict(re.findall(r"^id=(\d+) .* cmd=(\S+)", line)[0] for line in lines)

        before = clients()
        [second] = [number for number, command in before.items() if command == "wait"]
        server.primary.say("CLIENT", "KILL", "ID", second)

        async def is_open_again() -> bool:
            return second not in clients() and len(clients()) == len(before)

        assert await wait_for(is_open_again)
        await setup.balance()
    assert "cannot be reached" not in caplog.text


async def test_scripts_that_the_server_forgot_cost_no_step(server: ReplicatedServer) -> None:
    async with connect(server.primary) as store, Engine(store, lax_settings()) as engine:
        setup = await make_setup(engine, store)
        before = await setup.balance()
        for _ in range(5):
            server.primary.say("FUNCTION", "FLUSH", "SYNC")
            await engine.deposit(wallet_id=setup.wallet_id, amount=1)
        assert await setup.balance() == before + 5


@pytest.mark.parametrize("wait_replicas", [0, 1])
async def test_with_the_primary_lost_no_acknowledged_step_is_lost(
    server: ReplicatedServer, wait_replicas: int
) -> None:
    """Without the wait, the same run loses some: the replica is behind when both are killed."""
    [replica] = server.replicas
    acknowledged: list[int] = []
    async with connect(server.primary, wait_replicas=wait_replicas) as store:
        setup = StoreSetup(store)
        await setup.user("alice")
        wallet_id = await setup.wallet()

        async def deposit_all(first: int) -> None:
            for amount in range(first, first + 100_000):
                if (await setup.deposit(wallet_id, amount)).code == "ok":
                    acknowledged.append(amount)

        depositing = [asyncio.create_task(deposit_all(1 + 100_000 * number)) for number in range(16)]
        for _ in range(3):
            await asyncio.sleep(0.2)
            replica.pause()
            await asyncio.sleep(0.1)
            replica.resume()
        await asyncio.sleep(0.1)
        replica.pause()
        await asyncio.sleep(0.3)
        for each in (server.primary, replica):
            each.end()
        for task in depositing:
            task.cancel()
        await asyncio.wait(depositing)

    replica.start()
    replica.say("REPLICAOF", "NO", "ONE")
    entries = dict(replica.say("XRANGE", store._keys.journal, "-", "+"))
    kept = {int(fields["amount"]) for fields in entries.values() if "wallet.deposited" in fields}
    assert len(acknowledged) > 100
    assert bool(set(acknowledged) - kept) is (wait_replicas == 0)


def waits(server: ReplicatedServer) -> int:
    """How often the server was asked to wait for its replicas."""
    return int(server.primary.say("INFO", "commandstats")["cmdstat_wait"]["calls"])


async def wait_until_idle(server: ReplicatedServer) -> None:
    async def is_idle() -> bool:
        before = waits(server)
        await asyncio.sleep(1.5)
        return before == waits(server)

    assert await wait_for(is_idle, within_s=20)


async def is_refused(setup: Setup, reason: str) -> bool:
    try:
        await setup.balance()
    except StoreUnavailable as error:
        return reason in str(error)
    except OutcomeUnknown:
        pass
    return False
