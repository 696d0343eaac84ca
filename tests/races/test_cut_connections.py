"""A hundred thousand commands over connections that are cut: no answer is another's, nothing is lost or twice.

A command counts when it was answered: one call of a method of a store or an engine that came back with what
the store said, be it a record or a refusal.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis.asyncio import Redis
from support.fixtures.audit import assert_books_balance
from support.fixtures.client_log import (
    Account,
    ClientLog,
    Fate,
    assert_movements,
    assert_purchases,
    read_entries,
    read_payments,
)
from support.fixtures.drivers import Door, EngineDoor, StoreDoor
from support.fixtures.engine_setup import quick_settings, wait_for
from support.fixtures.random_clients import Client
from support.processes.worker import CODE, make_engine
from support.proxies.cutting_proxy import CuttingProxy, Mishap, running_cutting_proxy

from technopay.engine import (
    SILENCE,
    ConfirmationInvalid,
    Engine,
    FixedCode,
    OutcomeUnknown,
    Payment,
    ScriptedSettlementService,
)
from technopay.storage import RedisStore

SEED = 20_260_101
COMMANDS = 50_000
"""On each of two servers. With coverage measured, on two busy cores, each takes a minute and more."""
PROCESSES = 4
"""Stores with an engine each, as if they were in processes of their own."""
CLIENTS = 200
ACCOUNTS = 300
BALANCE = 10**9

REPLY_TIMEOUT_S = 0.5
UNKNOWN_MIN = 50
OUTAGE_S_MAX = 15.0
LOOK_S = 0.005
LOAD_S_MAX, CLOSE_S_MAX, PATIENCE_S = 300.0, 5.0, 30.0
OFTEN, SELDOM = 10, 2
OPERATION = re.compile(rb"op_00\d{6}\w+")
"""The operations that clients of a store name themselves."""


@asynccontextmanager
async def running_proxy(url: str) -> AsyncIterator[CuttingProxy]:
    """Run a proxy, which is not rough yet."""
    silence_s = 1.5 * REPLY_TIMEOUT_S
    async with running_cutting_proxy(url, seed=SEED, silence_s=silence_s, operation=OPERATION) as proxy:
        yield proxy


@asynccontextmanager
async def opened_doors(
    url: str, namespace: str, *, reply_timeout_s: float = PATIENCE_S
) -> AsyncIterator[tuple[StoreDoor, EngineDoor]]:
    """Open a store and an engine on it; they have to close in time."""
    store = RedisStore.connect(url, namespace=namespace, initialise=True, reply_timeout_s=reply_timeout_s)
    engine = make_engine(store)
    await store.open()
    await engine.start()
    try:
        yield StoreDoor(store), EngineDoor(engine)
    finally:
        closing = asyncio.create_task(close(engine, store))
        # What went wrong before is to be seen, not that a broken store does not close.
        _, late = await asyncio.wait([closing], timeout=CLOSE_S_MAX)
        closing.cancel()
    assert not late
    closing.result()


async def close(engine: Engine, store: RedisStore) -> None:
    """Close an engine and its store."""
    await engine.aclose()
    await store.aclose()


async def open_accounts(url: str, namespace: str, log: ClientLog, count: int) -> list[Account]:
    """Make users with a wallet each that holds something."""

    async def open_account(door: EngineDoor, user_id: str) -> Account:
        await door.engine.create_user(user_id=user_id, email=f"{user_id}@example.com")
        wallet = await door.engine.create_wallet(user_id=user_id, currency="EUR")
        account = Account(user_id, wallet.id)
        movement = log.deposit(account, 1, more=BALANCE)
        assert await movement.take(door.deposit(movement))
        return account

    async with opened_doors(url, namespace) as (_, door):
        return await asyncio.gather(*(open_account(door, f"user{number}") for number in range(count)))


async def run_load(url: str, namespace: str, accounts: Sequence[Account], log: ClientLog) -> CuttingProxy:
    """Let all clients work through the proxy; answer it when all that it held has gone to the server."""
    async with asyncio.timeout(LOAD_S_MAX), running_proxy(url) as proxy, AsyncExitStack() as stack:
        doors = [
            await stack.enter_async_context(opened_doors(proxy.url, namespace, reply_timeout_s=REPLY_TIMEOUT_S))
            for _ in range(PROCESSES)
        ]
        proxy.is_rough = True
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                chance = random.Random(SEED + number)
                client = Client(chance, doors[number % PROCESSES], accounts, log, proxy)
                group.create_task(client.work(COMMANDS))
            group.create_task(break_off(log, proxy))
        proxy.is_rough = False
    return proxy


async def break_off(log: ClientLog, proxy: CuttingProxy) -> None:
    """In the middle of it all, let the server be gone until clients do not know what became of a command."""
    while log.answered < COMMANDS // 2:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    give_up_at = time.monotonic() + OUTAGE_S_MAX
    async with proxy.outage():
        while log.answers[Fate.UNKNOWN] < UNKNOWN_MIN and time.monotonic() < give_up_at:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


async def count_connections(url: str) -> int:
    """Answer how many clients the server has, this one not counted."""
    async with Redis.from_url(url) as redis:
        return len(await redis.client_list()) - 1


def assert_that_enough_went_wrong(log: ClientLog, proxy: CuttingProxy) -> None:
    """There were enough commands, and every mishap struck often."""
    counts = f"seed {SEED}: {log.answers}, {proxy.mishaps}, {proxy.overtaken} overtaken"
    assert log.answered >= COMMANDS, counts
    assert log.answers[Fate.UNKNOWN] >= UNKNOWN_MIN, counts
    assert log.answers[Fate.NOTHING] >= OFTEN, counts
    assert all(proxy.mishaps[mishap] >= OFTEN for mishap in Mishap if mishap is not Mishap.SILENCE), counts
    assert proxy.mishaps[Mishap.SILENCE] >= SELDOM, counts
    assert proxy.overtaken >= OFTEN, counts


async def assert_log_is_true(url: str, namespace: str, accounts: Sequence[Account], log: ClientLog) -> None:
    """Compare what the clients were told with what the store holds."""
    async with RedisStore.connect(url, namespace=namespace, reply_timeout_s=PATIENCE_S) as store:
        assert_movements(log, await read_entries(store, accounts))
        assert_purchases(log, await read_payments(store, accounts))
    await assert_books_balance(url, namespace)


async def ask_again(log: ClientLog, doors: Sequence[Door]) -> None:
    """Ask for everything whose outcome is unknown, over connections that work: now there is an answer."""
    for movement in log.movements:
        if movement.fate is Fate.UNKNOWN and movement.amount > 0:
            wallet = await movement.take(doors[movement.door].deposit(movement))
            movement.balance = wallet.balance if wallet else None
    for purchase in log.purchases:
        door, debit = doors[purchase.door], purchase.debit
        if purchase.started.fate is Fate.UNKNOWN:
            payment = await purchase.started.take(door.start(purchase))
            purchase.payment_id = payment.id if payment else ""
        if debit.fate is Fate.UNKNOWN:
            payment = await debit.take(door.confirm(purchase, is_right=True))
            debit.balance = payment.balance_after if payment else None
        if purchase.canceled.fate is Fate.UNKNOWN:
            await purchase.canceled.take(door.cancel(purchase))


@pytest.mark.timeout(400)
async def test_a_hundred_thousand_commands_over_cut_connections_mix_up_and_lose_nothing(
    server_url: str, namespace: str
) -> None:
    log, others = ClientLog(), await count_connections(server_url)
    accounts = await open_accounts(server_url, namespace, log, ACCOUNTS)

    async def are_connections_gone() -> bool:
        return await count_connections(server_url) <= others

    proxy = await run_load(server_url, namespace, accounts, log)
    await wait_for(are_connections_gone)
    doubts = len(log.doubts())
    async with opened_doors(server_url, namespace) as doors:
        await ask_again(log, doors)

    assert log.doubts() == []
    await assert_log_is_true(server_url, namespace, accounts, log)
    assert doubts
    assert_that_enough_went_wrong(log, proxy)


async def test_a_confirm_that_took_the_money_does_not_say_that_nothing_happened(
    server_url: str, namespace: str
) -> None:
    log, service = ClientLog(), ScriptedSettlementService(settle=[SILENCE])
    [account] = await open_accounts(server_url, namespace, log, 1)
    purchase = log.purchase(account, 1)

    async def is_taken() -> bool:
        return bool(service.calls)

    async with running_proxy(server_url) as proxy, RedisStore.connect(proxy.url, namespace=namespace) as store:
        settings, verifier = quick_settings(settlement_timeout_s=5), FixedCode(CODE)
        async with Engine(store, settings, verifier=verifier, settlement_service=service) as engine:
            door = EngineDoor(engine)
            purchase.invoice_id = (await door.invoice(purchase)).id
            purchase.payment_id = (await door.start(purchase)).id
            confirming = asyncio.create_task(door.confirm(purchase, is_right=True, wait_s=1.5))
            await wait_for(is_taken)
            async with proxy.outage():
                [told] = await asyncio.gather(confirming, return_exceptions=True)

    assert isinstance(told, Payment | OutcomeUnknown), repr(told)


async def test_a_wrong_code_that_comes_again_late_does_not_cost_a_second_attempt(
    server_url: str, namespace: str
) -> None:
    log = ClientLog()
    [account] = await open_accounts(server_url, namespace, log, 1)
    purchase = log.purchase(account, 0)
    async with opened_doors(server_url, namespace) as (door, _):
        purchase.invoice_id = (await door.invoice(purchase)).id
        purchase.payment_id = (await door.start(purchase)).id
        # The number of guesses names the call: the last two are the first two once more.
        for purchase.guesses, remaining in ((0, 4), (1, 3), (0, 4), (1, 3)):
            with pytest.raises(ConfirmationInvalid) as refused:
                await door.confirm(purchase, is_right=False)
            assert refused.value.attempts_remaining == remaining
        payment = await door.payment(account.user_id, purchase.payment_id)

    assert payment.confirmation
    assert payment.confirmation.attempts_remaining == 3
