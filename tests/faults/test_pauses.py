"""Processes that stop, resume or die while they hold a wallet's lease."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import wait_for
from support.fixtures.figures import report
from support.fixtures.fixed_code import make_engine, open_store
from support.fixtures.store_setup import Setup, client_of
from support.processes.engine_process import Answer, Call, FarEngine, Role, running_far_engine

from technopay.engine import Engine
from technopay.engine.values import Lease

BATCH = 900
ROUNDS_MAX = 20
USABLE_S_MAX = 3.0
ROUNDS = 4


class Wallet:
    """A wallet shared by two engines: a near one, which is never stopped, and a far one."""

    def __init__(self, setup: Setup, engine: Engine, far: FarEngine, wallet_id: str) -> None:
        self.setup = setup
        self.engine = engine
        self.far = far
        self.id = wallet_id
        self.near_amount = 10_000_000
        self.far_amount = 0

    def deposits_from_far(self, amounts: Sequence[int]) -> list[Call]:
        return [("deposit", {"wallet_id": self.id, "amount": amount}) for amount in amounts]

    async def deposit_from_near(self) -> dict[int, int]:
        """Make a deposit identified by its amount; return the amount and the balance after it."""
        self.near_amount += 1
        amount = self.near_amount
        return {amount: (await self.engine.deposit(wallet_id=self.id, amount=amount)).balance}

    async def lease_left_ms(self) -> int:
        """Return the remaining time of the current lease."""
        fields = await self.setup.fields("wallet", self.id)
        return int(fields.get("lease_until", "0")) - await self.setup.now_ms()

    async def entries(self) -> dict[int, int]:
        """Return all deposits in their order: the amount, which identifies each, and the balance after it."""
        client, keys = client_of(self.setup.store), self.setup.keys
        found = await client.xrange(keys.journal)
        own = [fields for _, fields in found if fields.get("wallet.deposited") == self.id]
        entries = {int(fields["amount"]): int(fields["balance"]) for fields in own}
        assert len(entries) == len(own), "a deposit was made twice"
        return entries

    async def signal_holder(self, name: signal.Signals) -> list[asyncio.Future[Answer]]:
        """Queue many commands in the far engine, and stop or kill it while it holds the lease.

        Return the futures of the last batch; the queue is not empty then.
        """
        for _ in range(ROUNDS_MAX):
            amounts = range(self.far_amount + 1, self.far_amount + 1 + BATCH)
            self.far_amount += BATCH
            futures = self.far.send(self.deposits_from_far(amounts))
            while not all(future.done() for future in futures):
                if await self.lease_left_ms() > 0:
                    # Check while it is stopped: it may have completed all commands in the meantime.
                    self.far.signal(signal.SIGSTOP)
                    if await self.lease_left_ms() > 0 and amounts[-1] not in await self.entries():
                        self.far.signal(name)
                        return futures
                    self.far.signal(signal.SIGCONT)
                await asyncio.sleep(0)
        raise AssertionError("it was never stopped while it held the lease")


@pytest.fixture
async def wallet(server_url: str, namespace: str) -> AsyncIterator[Wallet]:
    role = Role(server_url, namespace)
    async with (
        open_store(server_url, namespace) as store,
        make_engine(store) as engine,
        running_far_engine(role) as far,
    ):
        setup = Setup(store)
        await engine.create_user(user_id="ann", email="ann@example.com")
        wallet = await engine.create_wallet(user_id="ann", currency="EUR")
        yield Wallet(setup, engine, far, wallet.id)
    await assert_books_balance(server_url, namespace)


async def come_and_go(wallet: Wallet, came: asyncio.Event, ended: asyncio.Event) -> dict[int, int]:
    """Make deposits under a lease that is alternately kept and given up, as fast as the store replies.

    So the store refuses some commands of another process's batch while it would accept others.
    """
    made: dict[int, int] = {}
    turn = 0
    while not ended.is_set():
        turn += 1
        wallet.near_amount += 1
        lease = Lease("another process", "", keep=turn % 2 == 0)
        outcome = await wallet.setup.deposit(wallet.id, wallet.near_amount, lease)
        if outcome.value:
            made[wallet.near_amount] = outcome.value.balance
            came.set()
    return made


async def test_a_stopped_holder_of_a_lease_changes_nothing_out_of_order_and_nothing_twice(
    wallet: Wallet,
) -> None:
    asked: dict[int, int] = {}
    for _ in range(ROUNDS):
        futures = await wallet.signal_holder(signal.SIGSTOP)
        first = wallet.far_amount - BATCH + 1
        stopped_at, token = time.monotonic(), (await wallet.setup.fields("wallet", wallet.id))["token"]

        asked |= await wallet.deposit_from_near()
        usable_s = time.monotonic() - stopped_at
        before = await wallet.entries()
        came, ended = asyncio.Event(), asyncio.Event()
        depositing = asyncio.create_task(come_and_go(wallet, came, ended))
        await came.wait()
        assert (await wallet.setup.fields("wallet", wallet.id))["token"] != token
        left = wallet.far_amount - max(amount for amount in before if amount <= wallet.far_amount)
        wallet.far.signal(signal.SIGCONT)
        answers = await asyncio.gather(*futures)
        ended.set()
        asked |= await depositing

        assert left, "the stopped engine had nothing more to do"
        assert {answer.code for answer in answers} == {"ok"}
        told = {amount: answer.record["balance"] for amount, answer in enumerate(answers, first)}
        asked |= told
        report(f"stopped, {left} of {BATCH} commands to go; usable by another in {usable_s * 1000:.0f} ms")

    entries = await wallet.entries()
    far = [amount for amount in entries if amount <= wallet.far_amount]
    assert far == sorted(far), "commands took effect out of order"
    assert asked.items() <= entries.items(), "an engine was told what is not so"
    assert len(far) == wallet.far_amount


async def test_a_wallet_of_a_killed_process_is_usable_within_three_seconds_and_then_free(
    wallet: Wallet,
) -> None:
    futures = await wallet.signal_holder(signal.SIGKILL)
    killed_at = time.monotonic()

    near = await wallet.deposit_from_near()
    usable_s = time.monotonic() - killed_at
    await wallet.far.process.wait()

    report(f"usable {usable_s * 1000:.0f} ms after its holder was killed")
    assert usable_s < USABLE_S_MAX
    answers: Sequence[Any] = await asyncio.gather(*futures, return_exceptions=True)
    told = {
        amount: answer.record["balance"]
        for amount, answer in enumerate(answers, wallet.far_amount - BATCH + 1)
        if isinstance(answer, Answer)
    }
    entries = await wallet.entries()
    assert len(told) < BATCH
    assert (told | near).items() <= entries.items(), "what was acknowledged is not there"
    far = [amount for amount in entries if amount <= wallet.far_amount]
    assert far == list(range(1, len(far) + 1)), "what took effect is not what came first"

    async def is_free() -> bool:
        return await wallet.lease_left_ms() <= 0

    await asyncio.gather(*(wallet.deposit_from_near() for _ in range(BATCH)))
    await wait_for(is_free, within_s=USABLE_S_MAX)
    assert "lease_until" not in await wallet.setup.fields("wallet", wallet.id), "nobody holds a lease at rest"
