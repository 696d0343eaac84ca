"""Slots that move between nodes of a cluster: no script runs in a half-moved one, no call overtakes another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from support.fixtures import placed_keys
from support.fixtures.audit import assert_clean
from support.fixtures.engine_setup import wait_for
from support.fixtures.store_setup import Setup
from support.servers.cluster_server import ClusterServer, cluster_server
from support.servers.raw_client import flush
from support.servers.slot_moves import SlotMove

from technopay.cli.cluster.moving import move_partition
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys

PARTITIONS = 12


@pytest.fixture(scope="module", params=["valkey", "redis"])
def own_cluster(request: pytest.FixtureRequest) -> Iterator[ClusterServer]:
    with cluster_server(request.param) as running:
        yield running


@pytest.fixture
async def store(own_cluster: ClusterServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisStore]:
    monkeypatch.setattr(placed_keys, "PARTITIONS", PARTITIONS)
    async with RedisStore.connect(own_cluster.url, initialise=True, partitions=PARTITIONS) as store:
        yield store
        await assert_clean(store)
    await flush(own_cluster.url)


@pytest.fixture
async def setup(store: RedisStore) -> Setup:
    setup = Setup(store)
    await setup.user("alice")
    return setup


@pytest.fixture
def keys(store: RedisStore) -> Keys:
    """The keys of alice's partition."""
    return Keys("tp", store.partition_of("alice"))


def named(*parts: str) -> Callable[[str], bool]:
    """Return a test of keys with one of these parts in their names."""
    return lambda name: any(part in name for part in parts)


def but(*parts: str) -> Callable[[str], bool]:
    is_named = named(*parts)
    return lambda name: not is_named(name)


@pytest.mark.parametrize("first", ["entries:", "agenda", "payments:", "code:", "wallet:", "journal", "nothing"])
async def test_nothing_is_written_while_its_slot_is_half_moved(
    own_cluster: ClusterServer, setup: Setup, keys: Keys, first: str
) -> None:
    """Without the guard key a script fails at the first key that is missing, and keeps what it wrote before."""
    wallet = await setup.wallet()
    await setup.succeeded(wallet)  # so that the partition knows that there is no limit
    payment_id, other_id = [await setup.started(wallet, await setup.invoice()) for _ in range(2)]
    invoice_id = await setup.invoice()
    before = await setup.entries()

    move = SlotMove.begin(own_cluster, keys)
    for is_moved in (named(first), named("")):
        move.move_keys(is_moved)
        for call in (
            setup.confirm(payment_id),
            setup.deposit(wallet, 1),
            setup.start(wallet, invoice_id),
            setup.cancel(other_id),
            setup.set_wallet_status(wallet, "inactive"),
        ):
            with suppress(StoreUnavailable, InternalError):  # what matters is what it wrote
                await call
    move.end()

    await assert_clean(setup.store)
    assert await setup.entries() == before
    assert await setup.money(wallet) == (9_000, 0)
    assert (await setup.confirm(payment_id)).code == "ok"
    assert (await setup.start(wallet, invoice_id)).code == "ok"


async def test_a_source_that_dies_in_the_middle_of_a_move_leaves_nothing_that_scripts_run_on(
    own_cluster: ClusterServer, setup: Setup, keys: Keys
) -> None:
    """Its replica does not know of the move; the meta record, which goes first, keeps scripts out."""
    wallet = await setup.wallet()
    await setup.succeeded(wallet)
    payment_id = await setup.started(wallet, await setup.invoice())
    before = await setup.entries()
    await asyncio.to_thread(own_cluster.wait_until_whole)

    move = SlotMove.begin(own_cluster, keys)
    source = own_cluster.nodes[move.source]
    replica = own_cluster.nodes[own_cluster.replica_of(move.source)]
    move.move_keys(lambda name: name.endswith(":meta"))
    move.move_keys(named("entries:", "payments:"))
    left = source.say("CLUSTER", "COUNTKEYSINSLOT", move.slot)

    async def has_followed() -> bool:
        return bool(replica.say("CLUSTER", "COUNTKEYSINSLOT", move.slot) == left)

    await wait_for(has_followed, within_s=10)
    source.end()

    async def is_replaced() -> bool:
        return str(replica.say("ROLE")[0]) == "master"

    await wait_for(is_replaced, within_s=30)
    inactive = setup.set_wallet_status(wallet, "inactive")
    for call in (setup.confirm(payment_id), setup.deposit(wallet, 1), inactive):
        with pytest.raises(StoreUnavailable):
            await call
    source.start()
    await asyncio.to_thread(own_cluster.wait_until_whole)

    target = ("127.0.0.1", own_cluster.ports[move.target])
    await move_partition(own_cluster.url, keys.partition, target, 0, lambda _: None)

    async def is_served() -> bool:
        with suppress(StoreUnavailable, OutcomeUnknown):
            return (await setup.confirm(payment_id)).code == "ok"
        return False

    await wait_for(is_served, within_s=20)
    assert await setup.money(wallet) == (8_000, 1_000)
    assert (await setup.entries())[: len(before)] == before


async def test_no_limit_is_passed_while_its_slot_is_half_moved(
    own_cluster: ClusterServer, store: RedisStore, setup: Setup
) -> None:
    """Without the guard key the target node, which has no limit yet, takes them all."""
    await setup.set_limit("EUR", 150)
    wallet = await setup.wallet()
    payments = [await setup.started(wallet, await setup.invoice(amount=100)) for _ in range(4)]

    homes = {store.partition_of("alice"), store._partitions.home_of_limit("global:EUR").number}
    moves = [SlotMove.begin(own_cluster, Keys("tp", number)) for number in sorted(homes)]
    for move in moves:
        move.move_keys(but("limit:", "quota:"))
    for payment_id in payments:
        with pytest.raises(StoreUnavailable):
            await setup.confirm(payment_id)
    for move in moves:
        move.move_keys()
        move.end()

    codes = [(await setup.confirm(payment_id)).code for payment_id in payments]
    assert codes == ["ok", "daily_limit_exceeded", "daily_limit_exceeded", "daily_limit_exceeded"]


async def test_calls_keep_their_order_while_their_slot_moves(
    own_cluster: ClusterServer, store: RedisStore, keys: Keys
) -> None:
    client = store._partitions[keys.partition].client
    assert client is not None
    pushed, results = keys.key("entries", "order"), dict[int, object]()
    sent = 0

    async def push(count: int) -> None:
        nonlocal sent
        for number in range(sent, sent + count):
            client.send_command(("RPUSH", pushed, number), partial(results.__setitem__, number))
            if number % 20 == 0:
                await asyncio.sleep(0)
        sent += count

    for _ in range(4):
        await push(400)
        move = SlotMove.begin(own_cluster, keys)
        await push(400)
        await asyncio.to_thread(move.move_keys)
        await push(400)
        ending = asyncio.create_task(asyncio.to_thread(move.end))
        while not ending.done():
            await push(20)
            await asyncio.sleep(0)
        await push(400)

    async def have_replies() -> bool:
        return len(results) == sent

    await wait_for(have_replies, within_s=20)

    found = [int(each) for each in await store._partitions[keys.partition].fetch("LRANGE", pushed, 0, -1)]
    accepted = [number for number, reply in sorted(results.items()) if not isinstance(reply, Fault)]
    assert found == accepted
    refused = [reply for reply in results.values() if isinstance(reply, Fault)]
    assert not [each for each in refused if isinstance(each, InternalError | OutcomeUnknown)]
    assert accepted[-1] == sent - 1, "the last ones come when the slot is at rest"
    await store._partitions[keys.partition].fetch("DEL", pushed)
