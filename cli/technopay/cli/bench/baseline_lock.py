"""The baseline is the usual asyncio design: a redis-py lock per wallet, read, check in Python, write.

The same three steps and the same records on the same store, with fsync on every write. As usual, the daily
limit is read and counted without a lock of its own: under contention it can be exceeded.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.lock import Lock

from technopay.cli.bench.environment import KEYS, Environment, OpenInvoice
from technopay.cli.process import for_each
from technopay.engine.system import RandomIds

AT_A_TIME = 64
CONNECTIONS = 32
LIMIT = 10**15
JOURNAL, LIMITS = "baseline:journal", "baseline:limit"


class LockDesign:
    """Purchases, each step under the lock of its wallet."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._ids = RandomIds()
        self._day = time.strftime("%Y-%m-%d", time.gmtime())

    async def purchase(self, bought: OpenInvoice) -> None:
        payment = f"baseline:payment:{self._ids.new('pay', 0)}"
        user = KEYS.key("user", bought.user_id)
        wallet, invoice = KEYS.key("wallet", bought.wallet_id), KEYS.key("invoice", bought.invoice_id)
        async with self._lock(wallet):
            owner, amount = await self._read(user, wallet, invoice)
            assert owner["status"] == "active"
            async with self._client.pipeline(transaction=True) as writing:
                fields: dict[Any, Any] = {
                    "invoice": bought.invoice_id,
                    "wallet": bought.wallet_id,
                    "status": "requires_confirmation",
                    "created_at": str(time.time_ns() // 1_000_000),
                    "digest": "0123456789abcdef012345",
                    "attempts_remaining": "5",
                }
                writing.hset(payment, mapping=fields)
                writing.hset(invoice, "payment", payment)
                writing.zadd(f"baseline:payments:{bought.user_id}", {payment: 0})
                writing.xadd(JOURNAL, {"type": "payment.started", "payment": payment})
                await writing.execute()
        async with self._lock(wallet):
            started, amount = await self._read(payment, wallet, invoice)
            assert started["status"] == "requires_confirmation"
            async with self._client.pipeline(transaction=True) as writing:
                writing.hincrby(wallet, "balance", -amount)
                writing.hincrby(LIMITS, self._day, amount)
                writing.hset(payment, "status", "processing")
                writing.hset(invoice, "status", "processing")
                writing.xadd(JOURNAL, {"type": "payment.processing", "payment": payment})
                await writing.execute()
        async with self._lock(wallet):
            assert await self._client.hget(payment, "status") == "processing"
            async with self._client.pipeline(transaction=True) as writing:
                writing.hset(payment, "status", "succeeded")
                writing.hset(invoice, "status", "paid")
                writing.xadd(JOURNAL, {"type": "payment.succeeded", "payment": payment})
                await writing.execute()

    def _lock(self, wallet: str) -> Lock:
        return self._client.lock(f"baseline:lock:{wallet}", timeout=10)

    async def _read(self, first: str, wallet: str, invoice: str) -> tuple[Mapping[str, str], int]:
        """Read three records and the limit in one round trip; return the first and the amount."""
        async with self._client.pipeline(transaction=False) as reading:
            for key in (first, wallet, invoice):
                reading.hgetall(key)
            reading.hmget(LIMITS, "limit", self._day)
            record, payer, bill, limit = await reading.execute()
        amount = int(bill["amount"])
        assert (payer["status"], bill["status"]) == ("active", "open")
        assert amount <= int(payer["balance"])
        assert int(limit[1] or 0) + amount <= int(limit[0] or LIMIT)
        return record, amount


async def run_baseline(environment: Environment, invoices: Sequence[OpenInvoice]) -> float:
    """Pay all invoices under locks; return purchases per second."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        f"unix://{environment.data_dir / 'valkey.sock'}",
        max_connections=CONNECTIONS,
        timeout=60,
        decode_responses=True,
    )
    design = LockDesign(Redis(connection_pool=pool))
    began = time.perf_counter()
    await for_each(invoices, design.purchase, AT_A_TIME)
    seconds = time.perf_counter() - began
    await pool.disconnect()
    return len(invoices) / seconds
