"""What is asked of one wallet happens in the order in which it was asked, and once, whatever the store does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.store_setup import client_of
from support.proxies.faulty_proxy import Fault, Proxy, running_proxy

from technopay.engine import Engine, StoreUnavailable
from technopay.storage import RedisStore

COUNT = 300


async def deposited(alice: Setup) -> list[int]:
    """Read the amounts that came into the wallet, the oldest first."""
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
    """Ask for many deposits at once, in this order."""
    await asyncio.gather(*(engine.deposit(wallet_id=alice.wallet_id, amount=amount) for amount in amounts))


async def test_what_is_asked_of_a_wallet_at_once_happens_in_the_order_of_asking(store: RedisStore) -> None:
    async with Engine(store, quick_settings(command_deadline_s=60)) as engine:
        alice = await make_setup(engine, store, balance=0)

        await deposit_all(engine, alice, range(1, COUNT + 1))

        assert await deposited(alice) == [*range(1, COUNT + 1)]


async def test_what_is_asked_again_and_again_happens_in_the_order_of_asking(store: RedisStore) -> None:
    """Commands come at every moment of the life of an actor, not only all at once."""
    async with Engine(store, quick_settings(command_deadline_s=60)) as engine:
        alice = await make_setup(engine, store, balance=0)
        asked = []
        for amount in range(1, COUNT + 1):
            asked.append(asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=amount)))
            for _ in range(amount % 7):
                await asyncio.sleep(0)
        await asyncio.gather(*asked)

        assert await deposited(alice) == [*range(1, COUNT + 1)]


@pytest.mark.parametrize("before", [0, 1, 2, 3])
async def test_a_call_that_is_repeated_among_others_changes_nothing_about_their_order(
    store: RedisStore, before: int
) -> None:
    """What it answers again tells nothing of the lease that the wallet has now."""
    async with Engine(store, quick_settings(command_deadline_s=60)) as engine:
        alice = await make_setup(engine, store, balance=0)
        repeated: dict[str, Any] = {"wallet_id": alice.wallet_id, "amount": 1_000, "idempotency_key": "key"}
        first = await engine.deposit(**repeated)

        calls: list[dict[str, Any]] = [
            {"wallet_id": alice.wallet_id, "amount": amount} for amount in range(1, COUNT + 1)
        ]
        calls.insert(before, repeated)
        answers = await asyncio.gather(*(engine.deposit(**call) for call in calls))

        assert answers[before] == first.as_replay()
        assert await deposited(alice) == [1_000, *range(1, COUNT + 1)]


async def test_two_engines_that_want_the_same_wallet_each_keep_their_order(store: RedisStore) -> None:
    settings = quick_settings(command_deadline_s=60)
    async with Engine(store, settings) as one, Engine(store, settings) as other:
        alice = await make_setup(one, store, balance=0)
        odd, even = range(1, COUNT, 2), range(2, COUNT + 1, 2)

        await asyncio.gather(deposit_all(one, alice, odd), deposit_all(other, alice, even))

        amounts = await deposited(alice)
        assert [amount for amount in amounts if amount % 2] == [*odd]
        assert [amount for amount in amounts if amount % 2 == 0] == [*even]


async def works(engine: Engine) -> bool:
    try:
        await engine.check()
    except StoreUnavailable:
        return False
    return True


async def test_a_server_that_forgot_the_scripts_keeps_the_order(server_url: str, namespace: str) -> None:
    """As after its restart. Nothing overtakes a command whose script has to be loaded again."""
    async with (
        RedisStore.connect(server_url, initialise=True, namespace=namespace) as store,
        Engine(store, quick_settings(command_deadline_s=60)) as engine,
    ):
        alice = await make_setup(engine, store)
        payment = await alice.start()
        code = await alice.right_code(payment)
        await client_of(store).script_flush()
        await client_of(store).client_kill_filter(_type="normal", skipme=True)
        await wait_for(lambda: works(engine))
        await engine.deactivate_wallet(wallet_id=alice.wallet_id)
        await engine.activate_wallet(wallet_id=alice.wallet_id)

        deposits = asyncio.gather(
            *(engine.deposit(wallet_id=alice.wallet_id, amount=1) for _ in range(10)),
        )
        paid, _ = await asyncio.gather(
            alice.confirm(payment, code), engine.deactivate_wallet(wallet_id=alice.wallet_id)
        )
        await deposits

        assert (paid.status, paid.balance_before) == ("succeeded", 10_010)


async def strike_again_and_again(proxy: Proxy) -> None:
    """Let every fault strike one batch, one after the other."""
    for fault in (*Fault, *Fault):
        proxy.strike(fault)

        async def struck() -> bool:
            return proxy._times == 0

        await wait_for(struck)


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
