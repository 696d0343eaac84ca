"""Purchases through the engine: as fast as it can, and confirms at a given rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from technopay.cli.bench.environment import NO_LEASE, NOT_RECORDED, Environment, OpenInvoice
from technopay.cli.process import for_each
from technopay.engine import Engine, Payment
from technopay.engine.commands import ConfirmPayment
from technopay.engine.settings import key_id_of
from technopay.engine.values import Evidence

AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Run:
    """The cost of a number of purchases."""

    purchases: int
    seconds: float
    cpu_s: float
    script_us: int
    aof_bytes: int
    memory_bytes: int

    @property
    def per_s(self) -> float:
        return self.purchases / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of this process per purchase, in microseconds."""
        return 1e6 * self.cpu_s / self.purchases


async def run_engine(environment: Environment, invoices: Sequence[OpenInvoice]) -> Run:
    """Pay all invoices, start to settlement, and wait until all messages are delivered."""
    async with environment.engine() as engine:

        async def pay(invoice: OpenInvoice) -> None:
            payment = await start(engine, invoice)
            code = await environment.codes.read_code(payment.id)
            paid = await engine.confirm_payment(
                user_id=payment.user_id, payment_id=payment.id, code=code, wait_s=10
            )
            assert paid.status == "succeeded", paid.status

        async def work() -> None:
            await for_each(invoices, pay, AT_A_TIME)
            await environment.wait_for_relay()

        return await measured(environment, len(invoices), work)


async def measured(environment: Environment, purchases: int, work: Callable[[], Awaitable[None]]) -> Run:
    """Do the work of so many purchases and return its cost."""
    before = await environment.figures()
    began, cpu_began = time.perf_counter(), time.process_time()
    await work()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    after = await environment.figures()
    return Run(
        purchases,
        seconds,
        cpu_s,
        after.script_us - before.script_us,
        after.aof_bytes - before.aof_bytes,
        after.memory_bytes - before.memory_bytes,
    )


async def start(engine: Engine, invoice: OpenInvoice) -> Payment:
    return await engine.start_payment(
        user_id=invoice.user_id, invoice_id=invoice.invoice_id, wallet_id=invoice.wallet_id
    )


async def confirm_p99_s(
    environment: Environment, invoices: Sequence[OpenInvoice], rate_per_s: float
) -> tuple[float, float]:
    """Return the 99th percentile of a confirm through the engine, and of its bare script, at one rate."""
    half = len(invoices) // 2
    async with environment.engine() as engine:
        payments: list[Payment] = []

        async def begin(invoice: OpenInvoice) -> None:
            payments.append(await start(engine, invoice))

        await for_each(invoices, begin, AT_A_TIME)
        await environment.wait_for_relay()
        codes = {payment.id: await environment.codes.read_code(payment.id) for payment in payments}

        async def through_engine(payment: Payment) -> None:
            await engine.confirm_payment(
                user_id=payment.user_id, payment_id=payment.id, code=codes[payment.id], wait_s=0
            )

        with_engine = await _p99_s(through_engine, payments[:half], rate_per_s)
        await environment.wait_for_relay()

    async def bare(payment: Payment) -> None:
        operation_id = NOT_RECORDED.operation_id + payment.id
        key_id = key_id_of(environment.settings.secret)
        evidence = Evidence(key_id, ",1,", f"{key_id}:{codes[payment.id]}")
        command = ConfirmPayment(operation_id, payment.id, payment.user_id, evidence)
        await environment.store.run(command, NO_LEASE)

    return with_engine, await _p99_s(bare, payments[half:], rate_per_s)


async def _p99_s(
    call: Callable[[Payment], Awaitable[None]], payments: Sequence[Payment], rate_per_s: float
) -> float:
    """Make calls at their times, however long the earlier ones take; return the 99th percentile."""
    loop = asyncio.get_running_loop()
    began = loop.time() + 0.05
    took: list[float] = []

    async def timed(payment: Payment, due: float) -> None:
        await asyncio.sleep(due - loop.time())
        await call(payment)
        took.append(loop.time() - due)

    await asyncio.gather(
        *(timed(payment, began + number / rate_per_s) for number, payment in enumerate(payments))
    )
    return sorted(took)[round(0.99 * len(took)) - 1]
