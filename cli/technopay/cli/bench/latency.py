"""How long a confirm takes at a given rate, counted from when it should have left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from technopay.cli.bench.ceiling import NOBODY, NOT_RECORDED
from technopay.cli.bench.ground import Bill, Ground
from technopay.cli.bench.purchases import AT_A_TIME, start
from technopay.engine import Payment
from technopay.engine.commands import ConfirmPayment, Evidence
from technopay.engine.ports import Operation
from technopay.engine.settings import key_id_of


async def confirm_p99_s(ground: Ground, bills: Sequence[Bill], rate_per_s: float) -> tuple[float, float]:
    """Answer the 99th percentile of a confirm through the engine, and of its bare script, at one rate."""
    half = len(bills) // 2
    async with ground.engine() as engine:
        waiting = iter(bills)
        payments: list[Payment] = []

        async def starter() -> None:
            for bill in waiting:
                payment = await start(engine, bill)
                payments.append(payment)

        await asyncio.gather(*(starter() for _ in range(AT_A_TIME)))
        await ground.wait_for_relay()
        codes = {payment.id: await ground.phones.read_code(payment.id) for payment in payments}

        async def through_engine(payment: Payment) -> None:
            await engine.confirm_payment(
                user_id=payment.user_id, payment_id=payment.id, code=codes[payment.id], wait_s=0
            )

        with_engine = await _open_loop(through_engine, payments[:half], rate_per_s)
        await ground.wait_for_relay()

    async def bare(payment: Payment) -> None:
        operation = Operation(NOT_RECORDED.id + payment.id)
        key_id = key_id_of(ground.settings.secret)
        evidence = Evidence(key_id, ",1,", f"{key_id}:{codes[payment.id]}")
        command = ConfirmPayment(operation, payment.id, payment.user_id, evidence)
        await ground.store.run(command, NOBODY)

    return with_engine, await _open_loop(bare, payments[half:], rate_per_s)


async def _open_loop(
    call: Callable[[Payment], Awaitable[None]], payments: Sequence[Payment], rate_per_s: float
) -> float:
    """Make calls at their times, whether or not the earlier ones have ended; answer the 99th percentile."""
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
