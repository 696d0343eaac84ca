"""Commands of one wallet happen in the order of the calls, and once, under any fault of the store."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.proxies.faulty_proxy import Fault, Proxy, running_proxy

from technopay.engine import Engine
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

COUNT = 300


async def deposited(alice: Setup) -> list[int]:
    """Read the amounts credited to the wallet, the oldest first."""
    amounts: list[int] = []
    cursor = ""
    while True:
        page = await alice.engine.list_entries(
            user_id="alice", wallet_id=alice.wallet_id, limit=100, cursor=cursor
        )
        amounts += [entry.amount for entry in page.data]
        if page.next_cursor is None:
            return amounts[::-1]
        cursor = page.next_cursor


async def deposit_all(engine: Engine, alice: Setup, amounts: Sequence[int]) -> None:
    """Make many deposits at once, in this order."""
    await asyncio.gather(*(engine.deposit(wallet_id=alice.wallet_id, amount=amount) for amount in amounts))


@pytest.mark.parametrize("pauses", [1, 7], ids=["in one tick", "in many ticks"])
async def test_commands_keep_the_order_of_the_calls_around_a_repeat(store: RedisStore, pauses: int) -> None:
    """A replayed result has no news of the lease; in many ticks, calls meet an actor in any state."""
    async with Engine(store, quick_settings(command_deadline_s=60)) as engine:
        alice = await make_setup(engine, store, balance=0)
        repeated: dict[str, Any] = {"wallet_id": alice.wallet_id, "amount": 1_000, "idempotency_key": "key"}
        first = await engine.deposit(**repeated)

        for before in range(4):
            calls: list[dict[str, Any]] = [
                {"wallet_id": alice.wallet_id, "amount": amount}
                for amount in range(before * COUNT // 4 + 1, (before + 1) * COUNT // 4 + 1)
            ]
            calls.insert(before, repeated)
            tasks = []
            for number, call in enumerate(calls):
                tasks.append(asyncio.create_task(engine.deposit(**call)))
                for _ in range(number % pauses):
                    await asyncio.sleep(0)
            assert (await asyncio.gather(*tasks))[before] == first.as_replay()

        assert await deposited(alice) == [1_000, *range(1, COUNT + 1)]


async def test_two_engines_that_share_a_wallet_each_keep_their_order(store: RedisStore) -> None:
    settings = quick_settings(command_deadline_s=60)
    async with Engine(store, settings) as one, Engine(store, settings) as other:
        alice = await make_setup(one, store, balance=0)
        odd, even = range(1, COUNT, 2), range(2, COUNT + 1, 2)

        await asyncio.gather(deposit_all(one, alice, odd), deposit_all(other, alice, even))

        amounts = await deposited(alice)
        assert [amount for amount in amounts if amount % 2] == [*odd]
        assert [amount for amount in amounts if amount % 2 == 0] == [*even]


async def strike_again_and_again(proxy: Proxy) -> None:
    """Strike batches with every fault, one after the other."""
    for fault in (*Fault, *Fault):
        proxy.strike(fault)

        async def has_struck() -> bool:
            return proxy._times == 0

        await wait_for(has_struck)


@pytest.mark.parametrize("count", [1, COUNT])
async def test_a_connection_that_is_lost_changes_neither_order_nor_number(
    valkey_url: str, namespace: str, count: int
) -> None:
    """`count` commands are under way at a time."""
    async with (
        running_proxy(valkey_url) as proxy,
        RedisStore.connect(proxy.url, initialise=True, namespace=namespace, reply_timeout_s=0.5) as store,
        Engine(store, quick_settings(agenda_interval_s=60)) as engine,
    ):
        alice = await make_setup(engine, store, balance=0)
        striking = asyncio.create_task(strike_again_and_again(proxy))
        asked = 0
        while asked == 0 or not striking.done():
            await deposit_all(engine, alice, range(asked + 1, asked + count + 1))
            asked += count
        await striking

        assert await deposited(alice) == [*range(1, asked + 1)]
        assert await alice.balance() == asked * (asked + 1) // 2
