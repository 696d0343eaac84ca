"""Purchases through the engine, as fast as it can and at a given rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from technopay.cli.bench.ground import Bill, Ground
from technopay.engine import Engine, Payment

AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of purchases took."""

    purchases: int
    seconds: float
    cpu_s: float
    script_us: int
    aof_bytes: int
    memory_bytes: int

    @property
    def per_s(self) -> float:
        """Purchases per second."""
        return self.purchases / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of this process per purchase, in microseconds."""
        return 1e6 * self.cpu_s / self.purchases


async def run_engine(ground: Ground, bills: Sequence[Bill]) -> Run:
    """Pay all bills, start to settlement, and wait until all messages are delivered."""
    async with ground.engine() as engine:
        waiting = iter(bills)

        async def worker() -> None:
            for bill in waiting:
                payment = await start(engine, bill)
                await confirm(ground, engine, payment)

        async def work() -> None:
            await asyncio.gather(*(worker() for _ in range(AT_A_TIME)))
            await ground.wait_for_relay()

        return await measured(ground, len(bills), work)


async def measured(ground: Ground, purchases: int, work: Callable[[], Awaitable[None]]) -> Run:
    """Do the work of so many purchases, and answer what it took."""
    before = await ground.figures()
    began, cpu_began = time.perf_counter(), time.process_time()
    await work()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    after = await ground.figures()
    return Run(
        purchases,
        seconds,
        cpu_s,
        after.script_us - before.script_us,
        after.aof_bytes - before.aof_bytes,
        after.memory_bytes - before.memory_bytes,
    )


async def start(engine: Engine, bill: Bill) -> Payment:
    """Start one payment."""
    return await engine.start_payment(
        user_id=bill.user_id, invoice_id=bill.invoice_id, wallet_id=bill.wallet_id
    )


async def confirm(ground: Ground, engine: Engine, payment: Payment) -> None:
    """Confirm one payment with the code that came to the user, and see it settled."""
    code = await ground.phones.read_code(payment.id)
    paid = await engine.confirm_payment(user_id=payment.user_id, payment_id=payment.id, code=code, wait_s=10)
    assert paid.status == "succeeded", paid.status
