"""The rival, the usual asyncio design: a redis-py lock per wallet, read, check in Python, write.

The same three steps and the same records on the same store, with fsync on every write. As usual, the daily
limit is read and counted without a lock of its own, so that under contention it can be passed: ours cannot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from technopay.cli.bench.ground import Bill, Ground
from technopay.engine.clock import RandomIds

AT_A_TIME = 64
CONNECTIONS = 32
LIMIT = 10**15


class LockDesign:
    """Purchases under locks."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._ids = RandomIds()
        self._day = time.strftime("%Y-%m-%d", time.gmtime())

    async def purchase(self, bill: Bill) -> None:
        """Start, confirm, settle."""
        payment_id = self._ids.new("pay")
        await self._start(bill, payment_id)
        await self._confirm(bill, payment_id)
        await self._settle(bill, payment_id)

    async def _start(self, bill: Bill, payment_id: str) -> None:
        client = self._client
        async with client.lock(f"rival:lock:{bill.wallet_id}", timeout=10):
            async with client.pipeline(transaction=False) as reading:
                reading.hgetall(f"{{tp:00}}:user:{bill.user_id}")
                reading.hgetall(f"{{tp:00}}:wallet:{bill.wallet_id}")
                reading.hgetall(f"{{tp:00}}:invoice:{bill.invoice_id}")
                reading.hmget("rival:limit", "limit", self._day)
                user, wallet, invoice, limit = await reading.execute()
            amount = int(invoice["amount"])
            assert user["status"] == wallet["status"] == "active"
            assert invoice["status"] == "open"
            assert amount <= int(wallet["balance"])
            assert int(limit[1] or 0) + amount <= int(limit[0] or LIMIT)
            async with client.pipeline(transaction=True) as writing:
                fields: dict[Any, Any] = {
                    "invoice": bill.invoice_id,
                    "wallet": bill.wallet_id,
                    "status": "requires_confirmation",
                    "created_at": str(time.time_ns() // 1_000_000),
                    "digest": "0123456789abcdef012345",
                    "attempts_remaining": "5",
                }
                writing.hset(f"rival:payment:{payment_id}", mapping=fields)
                writing.hset(f"{{tp:00}}:invoice:{bill.invoice_id}", "payment", payment_id)
                writing.zadd(f"rival:payments:{bill.user_id}", {payment_id: 0})
                writing.xadd("rival:journal", {"type": "payment.started", "payment": payment_id})
                await writing.execute()

    async def _confirm(self, bill: Bill, payment_id: str) -> None:
        client = self._client
        async with client.lock(f"rival:lock:{bill.wallet_id}", timeout=10):
            async with client.pipeline(transaction=False) as reading:
                reading.hgetall(f"rival:payment:{payment_id}")
                reading.hgetall(f"{{tp:00}}:wallet:{bill.wallet_id}")
                reading.hgetall(f"{{tp:00}}:invoice:{bill.invoice_id}")
                reading.hmget("rival:limit", "limit", self._day)
                payment, wallet, invoice, limit = await reading.execute()
            amount = int(invoice["amount"])
            assert payment["status"] == "requires_confirmation"
            assert amount <= int(wallet["balance"])
            assert int(limit[1] or 0) + amount <= int(limit[0] or LIMIT)
            async with client.pipeline(transaction=True) as writing:
                writing.hincrby(f"{{tp:00}}:wallet:{bill.wallet_id}", "balance", -amount)
                writing.hincrby("rival:limit", self._day, amount)
                writing.hset(f"rival:payment:{payment_id}", "status", "processing")
                writing.hset(f"{{tp:00}}:invoice:{bill.invoice_id}", "status", "processing")
                writing.xadd("rival:journal", {"type": "payment.processing", "payment": payment_id})
                await writing.execute()

    async def _settle(self, bill: Bill, payment_id: str) -> None:
        client = self._client
        async with client.lock(f"rival:lock:{bill.wallet_id}", timeout=10):
            status = await client.hget(f"rival:payment:{payment_id}", "status")
            assert status == "processing"
            async with client.pipeline(transaction=True) as writing:
                writing.hset(f"rival:payment:{payment_id}", "status", "succeeded")
                writing.hset(f"{{tp:00}}:invoice:{bill.invoice_id}", "status", "paid")
                writing.xadd("rival:journal", {"type": "payment.succeeded", "payment": payment_id})
                await writing.execute()


async def run_rival(ground: Ground, bills: Sequence[Bill]) -> float:
    """Pay all bills under locks; answer purchases per second."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        f"unix://{ground.data_dir / 'valkey.sock'}",
        max_connections=CONNECTIONS,
        timeout=60,
        decode_responses=True,
    )
    design = LockDesign(Redis(connection_pool=pool))
    waiting = iter(bills)

    async def worker() -> None:
        for bill in waiting:
            await design.purchase(bill)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_A_TIME)))
    seconds = time.perf_counter() - began
    await pool.disconnect()
    return len(bills) / seconds
