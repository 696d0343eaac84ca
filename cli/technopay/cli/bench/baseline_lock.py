"""The baseline is the usual asyncio design: a redis-py lock per wallet, read, check in Python, write.

The same three steps and the same records on the same store, with fsync on every write. As usual, the daily
limit is read and counted without a lock of its own: under contention it can be exceeded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from technopay.cli.bench.environment import Environment, OpenInvoice
from technopay.engine.system import RandomIds

AT_A_TIME = 64
CONNECTIONS = 32
LIMIT = 10**15


class LockDesign:
    """Purchases, each under the lock of its wallet."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._ids = RandomIds()
        self._day = time.strftime("%Y-%m-%d", time.gmtime())

    async def purchase(self, open_invoice: OpenInvoice) -> None:
        payment_id = self._ids.new("pay", 0)
        await self._start(open_invoice, payment_id)
        await self._confirm(open_invoice, payment_id)
        await self._settle(open_invoice, payment_id)

    async def _start(self, open_invoice: OpenInvoice, payment_id: str) -> None:
        client = self._client
        async with client.lock(f"baseline:lock:{open_invoice.wallet_id}", timeout=10):
            async with client.pipeline(transaction=False) as reading:
                reading.hgetall(f"{{tp:00}}:user:{open_invoice.user_id}")
                reading.hgetall(f"{{tp:00}}:wallet:{open_invoice.wallet_id}")
                reading.hgetall(f"{{tp:00}}:invoice:{open_invoice.invoice_id}")
                reading.hmget("baseline:limit", "limit", self._day)
                user, wallet, invoice, limit = await reading.execute()
            amount = int(invoice["amount"])
            assert user["status"] == wallet["status"] == "active"
            assert invoice["status"] == "open"
            assert amount <= int(wallet["balance"])
            assert int(limit[1] or 0) + amount <= int(limit[0] or LIMIT)
            async with client.pipeline(transaction=True) as writing:
                fields: dict[Any, Any] = {
                    "invoice": open_invoice.invoice_id,
                    "wallet": open_invoice.wallet_id,
                    "status": "requires_confirmation",
                    "created_at": str(time.time_ns() // 1_000_000),
                    "digest": "0123456789abcdef012345",
                    "attempts_remaining": "5",
                }
                writing.hset(f"baseline:payment:{payment_id}", mapping=fields)
                writing.hset(f"{{tp:00}}:invoice:{open_invoice.invoice_id}", "payment", payment_id)
                writing.zadd(f"baseline:payments:{open_invoice.user_id}", {payment_id: 0})
                writing.xadd("baseline:journal", {"type": "payment.started", "payment": payment_id})
                await writing.execute()

    async def _confirm(self, open_invoice: OpenInvoice, payment_id: str) -> None:
        client = self._client
        async with client.lock(f"baseline:lock:{open_invoice.wallet_id}", timeout=10):
            async with client.pipeline(transaction=False) as reading:
                reading.hgetall(f"baseline:payment:{payment_id}")
                reading.hgetall(f"{{tp:00}}:wallet:{open_invoice.wallet_id}")
                reading.hgetall(f"{{tp:00}}:invoice:{open_invoice.invoice_id}")
                reading.hmget("baseline:limit", "limit", self._day)
                payment, wallet, invoice, limit = await reading.execute()
            amount = int(invoice["amount"])
            assert payment["status"] == "requires_confirmation"
            assert amount <= int(wallet["balance"])
            assert int(limit[1] or 0) + amount <= int(limit[0] or LIMIT)
            async with client.pipeline(transaction=True) as writing:
                writing.hincrby(f"{{tp:00}}:wallet:{open_invoice.wallet_id}", "balance", -amount)
                writing.hincrby("baseline:limit", self._day, amount)
                writing.hset(f"baseline:payment:{payment_id}", "status", "processing")
                writing.hset(f"{{tp:00}}:invoice:{open_invoice.invoice_id}", "status", "processing")
                writing.xadd("baseline:journal", {"type": "payment.processing", "payment": payment_id})
                await writing.execute()

    async def _settle(self, open_invoice: OpenInvoice, payment_id: str) -> None:
        client = self._client
        async with client.lock(f"baseline:lock:{open_invoice.wallet_id}", timeout=10):
            status = await client.hget(f"baseline:payment:{payment_id}", "status")
            assert status == "processing"
            async with client.pipeline(transaction=True) as writing:
                writing.hset(f"baseline:payment:{payment_id}", "status", "succeeded")
                writing.hset(f"{{tp:00}}:invoice:{open_invoice.invoice_id}", "status", "paid")
                writing.xadd("baseline:journal", {"type": "payment.succeeded", "payment": payment_id})
                await writing.execute()


async def run_baseline(environment: Environment, invoices: Sequence[OpenInvoice]) -> float:
    """Pay all invoices under locks; return purchases per second."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        f"unix://{environment.data_dir / 'valkey.sock'}",
        max_connections=CONNECTIONS,
        timeout=60,
        decode_responses=True,
    )
    design = LockDesign(Redis(connection_pool=pool))
    waiting = iter(invoices)

    async def worker() -> None:
        for invoice in waiting:
            await design.purchase(invoice)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_A_TIME)))
    seconds = time.perf_counter() - began
    await pool.disconnect()
    return len(invoices) / seconds
