"""Purchases without a pause on a cluster, by engines in processes of their own, while faults happen."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import wait_for
from support.fixtures.fixed_code import make_engine, open_store
from support.processes.engine_process import FarEngine, Role, running_far_engine

from technopay.engine import Engine, OutcomeUnknown, StoreUnavailable, Wallet

Value = TypeVar("Value")

ENGINES, USERS, PARTITIONS = 2, 24, 12
BALANCE, PRICE = 1_000_000, 7
LIMIT = 100_000_000
FAR = datetime(2100, 1, 1, tzinfo=UTC).isoformat()
TERMS = {"amount": PRICE, "currency": "EUR", "merchant": "shop", "expires_at": FAR}

SETTINGS = {"settlement_timeout_s": 5.0, "settlement_silence_s": 120.0, "command_deadline_s": 5.0}
UNAVAILABLE = frozenset({"store_unavailable", "outcome_unknown", "wallet_busy", "overloaded"})
"""The codes of calls that met a fault. All of them can be repeated."""
PROGRESS_S_MAX = 40.0
PAUSE_S = 0.05


@dataclass(slots=True)
class Traffic:
    """The running purchases, and what their clients saw."""

    role: Role
    engines: list[FarEngine]
    wallets: Sequence[Wallet]
    stack: AsyncExitStack
    paid: dict[str, str] = field(default_factory=dict)
    """Acknowledged payments, with their users."""
    codes: Counter[str] = field(default_factory=Counter)
    by_user: Counter[str] = field(default_factory=Counter)

    async def purchase(self, number: int) -> None:
        """Buy once for a user."""
        wallet, place = self.wallets[number], number % len(self.engines)
        invoice = await self.engines[place].call("create_invoice", user_id=wallet.user_id, **TERMS)
        self.codes[invoice.code] += 1
        if invoice.code == "ok":
            call = {"user_id": wallet.user_id, "invoice_id": invoice.record["id"], "wallet_id": wallet.id}
            answer = await self.engines[place].call("purchase", **call)
            self.codes[answer.code] += 1
            if answer.code == "ok":
                self.paid[answer.record["id"]] = wallet.user_id
                self.by_user[wallet.user_id] += 1
                return
        await asyncio.sleep(PAUSE_S)

    async def run(self, number: int) -> None:
        while True:
            try:
                await self.purchase(number)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise  # it is the traffic that ends, not the engine
                await asyncio.sleep(PAUSE_S)

    async def restart_engine(self, number: int) -> None:
        """Run another engine in the place of one, whose process is killed in the middle of its calls."""
        killed = self.engines[number]
        self.engines[number] = await self.stack.enter_async_context(running_far_engine(self.role))
        killed.signal(signal.SIGKILL)
        await killed.listening

    async def progress(self, count: int = 3) -> None:
        """Wait until each user has paid this often since now."""
        before = Counter(self.by_user)

        async def look() -> bool:
            return all(self.by_user[each.user_id] - before[each.user_id] >= count for each in self.wallets)

        await wait_for(look, within_s=PROGRESS_S_MAX)

    async def check(self, engine: Engine) -> None:
        """Check that every acknowledged payment is there, and that the books balance."""
        assert not set(self.codes) - UNAVAILABLE - {"ok"}, self.codes
        for payment_id in self.paid:
            payment = await patiently(partial(engine.find_payment, payment_id=payment_id))
            assert payment.status in ("processing", "succeeded"), f"{payment_id} was acknowledged: {payment}"
        await wait_for(lambda: self._are_at_rest(engine), within_s=PROGRESS_S_MAX)
        for wallet in self.wallets:
            balance = (await patiently(partial(engine.find_wallet, wallet_id=wallet.id))).balance
            bought, rest = divmod(BALANCE - balance, PRICE)
            assert not rest
            assert bought >= self.by_user[wallet.user_id]
        await assert_books_balance(self.role.url, self.role.namespace)

    async def _are_at_rest(self, engine: Engine) -> bool:
        return not (await patiently(partial(engine.search_payments, status="processing"))).data


async def patiently(read: Callable[[], Awaitable[Value]]) -> Value:
    """Read again while the store is not back yet, for a bounded time."""
    give_up_at = time.monotonic() + PROGRESS_S_MAX
    while True:
        try:
            return await read()
        except (StoreUnavailable, OutcomeUnknown):
            assert time.monotonic() < give_up_at, "the store is not back"
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def cluster_traffic(url: str, namespace: str, **store_options: Any) -> AsyncIterator[Traffic]:
    """Make users, and buy for all of them until the block ends; then check what they were told."""
    role = Role(url, namespace, settings=SETTINGS, store=store_options)
    async with (
        open_store(url, namespace, partitions=PARTITIONS, **store_options) as store,
        make_engine(store, **SETTINGS) as engine,
        AsyncExitStack() as stack,
    ):
        await engine.set_limit(currency="EUR", amount=LIMIT)
        wallets = [await _make_user(engine, f"user{number}") for number in range(USERS)]
        engines = [await stack.enter_async_context(running_far_engine(role)) for _ in range(ENGINES)]
        traffic = Traffic(role, engines, wallets, stack)
        running = [asyncio.create_task(traffic.run(number)) for number in range(USERS)]
        try:
            await traffic.progress()
            yield traffic
            await traffic.progress()
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
        await traffic.check(engine)


async def _make_user(engine: Engine, user_id: str) -> Wallet:
    await engine.create_user(user_id=user_id, email=f"{user_id}@example.com")
    wallet = await engine.create_wallet(user_id=user_id, currency="EUR")
    return await engine.deposit(wallet_id=wallet.id, amount=BALANCE)
