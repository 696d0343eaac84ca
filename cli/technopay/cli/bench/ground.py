"""What a measurement stands on: an embedded store with users, wallets and invoices, and its own figures."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from redis.asyncio import Redis

from technopay.engine import Engine, EngineSettings, MessageCode
from technopay.engine.clock import RandomIds
from technopay.engine.commands import Deposit, NewInvoice
from technopay.engine.ports import Lease, Operation, OutgoingMessage, PaymentTerms, RefundTerms
from technopay.storage import RedisStore
from technopay.storage.keys import Keys

SEEDING_AT_A_TIME = 512
SEEDING_CHUNK = 2_000
KEYS = Keys()
AMOUNT = 125
BALANCE = 1_000_000_000
CURRENCY = "EUR"
LIMIT = 10**15
SECRET = "a secret of the benchmark, and of it alone"  # noqa: S105


class ImmediateSettlement:
    """Settles at once, without asking anybody."""

    async def settle(self, terms: PaymentTerms) -> Literal["settled"]:  # noqa: ARG002
        """Settle."""
        return "settled"

    async def status(self, terms: PaymentTerms) -> Literal["settled"]:  # noqa: ARG002
        """Say so."""
        return "settled"

    async def call_off(self, terms: PaymentTerms) -> Literal["already_settled"]:  # noqa: ARG002
        """Refuse."""
        return "already_settled"

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed"]:  # noqa: ARG002
        """Reverse."""
        return "reversed"


class Phones:
    """The users' phones: take every message, and show the code of a payment to whoever waits for it."""

    def __init__(self) -> None:
        self._codes: dict[str, asyncio.Future[str]] = {}

    async def deliver(self, message: OutgoingMessage) -> None:
        """Take a message."""
        if message.code is not None:
            self._code_of(message.payment_id).set_result(message.code)

    async def read_code(self, payment_id: str) -> str:
        """Wait for the code of a payment."""
        code = await self._code_of(payment_id)
        del self._codes[payment_id]
        return code

    def _code_of(self, payment_id: str) -> asyncio.Future[str]:
        if payment_id not in self._codes:
            self._codes[payment_id] = asyncio.get_running_loop().create_future()
        return self._codes[payment_id]


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice to pay, by whom and from what."""

    user_id: str
    wallet_id: str
    invoice_id: str


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What the store has used so far."""

    script_us: int
    aof_bytes: int
    memory_bytes: int


@dataclass(slots=True)
class Ground:
    """A store that can be measured."""

    store: RedisStore
    client: Redis
    data_dir: Path
    verifier: MessageCode
    settings: EngineSettings
    phones: Phones
    ids: RandomIds
    url: str
    users: int = 0

    def engine(self) -> Engine:
        """Make an engine that settles at once and whose messages are taken at once."""
        return Engine(
            self.store,
            self.settings,
            settlement_service=ImmediateSettlement(),
            channels={"email": self.phones, "sms": self.phones},
            verifier=self.verifier,
        )

    async def seed_wallets(self, count: int) -> list[tuple[str, str]]:
        """Make users with one wallet each, full of money; answer their ids."""
        first, self.users = self.users, self.users + count
        pairs = [(f"user{number}", self.ids.new("wal")) for number in range(first, first + count)]
        await self._all(pairs, self._seed_wallet)
        return pairs

    async def seed_many_wallets(self, count: int) -> list[tuple[str, str]]:
        """Make very many users with one wallet each, by plain commands: their scripts would take minutes."""
        first, self.users = self.users, self.users + count
        pairs = [(f"user{number}", self.ids.new("wal")) for number in range(first, first + count)]
        user: dict[Any, Any] = {
            "status": "active",
            "email": "someone@example.com",
            "created_at": "1763856000000",
        }
        for begin in range(0, count, SEEDING_CHUNK):
            async with self.client.pipeline(transaction=False) as writing:
                for user_id, wallet_id in pairs[begin : begin + SEEDING_CHUNK]:
                    wallet: dict[Any, Any] = {"user": user_id, "currency": CURRENCY, "balance": str(BALANCE)}
                    wallet |= {
                        "ledger": str(BALANCE),
                        "status": "active",
                        "created_at": "1763856000000",
                    }
                    writing.hset(KEYS.key("user", user_id), mapping=user | {wallet_id: ""})
                    writing.hset(KEYS.key("wallet", wallet_id), mapping=wallet)
                await writing.execute()
        return pairs

    async def seed_bills(self, pairs: list[tuple[str, str]], count: int) -> list[Bill]:
        """Enter invoices, for one user after the other."""
        bills = [Bill(*pairs[number % len(pairs)], self.ids.new("inv")) for number in range(count)]
        await self._all(bills, self._seed_bill)
        return bills

    async def figures(self) -> StoreFigures:
        """Ask the store what it has used."""
        info = await self.client.info("everything")
        script = info.get("cmdstat_evalsha", {"usec": 0})
        return StoreFigures(script["usec"], info["aof_current_size"], info["used_memory"])

    async def wait_for_relay(self) -> None:
        """Wait until every message of the journal is delivered, also of what is written meanwhile."""
        async with asyncio.timeout(60):
            while not await self._is_relayed():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def _is_relayed(self) -> bool:
        newest: Any = await self.client.xrevrange(KEYS.journal, count=1)
        return bool(await self.client.hget(KEYS.key("relay"), "cursor") == newest[0][0])

    async def _seed_wallet(self, pair: tuple[str, str]) -> None:
        user_id, wallet_id = pair
        nobody, once = Lease("bench", "", keep=False), Operation("bench")
        await self.store.create_user(once, user_id, f"{user_id}@example.com", None)
        await self.store.create_wallet(once, wallet_id, user_id, CURRENCY)
        await self.store.run(Deposit(once, wallet_id, BALANCE), nobody)

    async def _seed_bill(self, bill: Bill) -> None:
        expires_at = datetime.now(UTC) + timedelta(days=30)
        invoice = NewInvoice(
            bill.invoice_id, bill.user_id, AMOUNT, CURRENCY, "Bookshop", None, None, expires_at
        )
        await self.store.create_invoice(Operation("bench"), invoice)

    async def _all(self, items: Iterable[Any], seed: Callable[[Any], Awaitable[None]]) -> None:
        waiting = iter(items)

        async def worker() -> None:
            for item in waiting:
                await seed(item)

        await asyncio.gather(*(worker() for _ in range(SEEDING_AT_A_TIME)))


def lax_settings(**changes: Any) -> EngineSettings:
    """Choose what an engine is set to. Limits on behaviour are lifted: one user buys thousands of times."""
    return EngineSettings(
        secret=SECRET,
        codes_per_hour=None,
        confirms_per_minute=None,
        failures_per_day=None,
        **changes,
    )


@asynccontextmanager
async def open_ground() -> AsyncIterator[Ground]:
    """Open a store of our own on a directory that goes away afterwards."""
    settings = lax_settings(mailbox_capacity=100_000, commands_waiting_max=100_000)
    verifier = MessageCode(code_key=settings.derive_key("code"))
    with tempfile.TemporaryDirectory(prefix="technopay-bench-") as folder:
        async with RedisStore.embedded(folder) as store:
            assert store.url is not None
            client: Redis = Redis.from_url(store.url, decode_responses=True)
            try:
                await store.set_limit(Operation("limit"), CURRENCY, LIMIT)
                yield Ground(store, client, Path(folder), verifier, settings, Phones(), RandomIds(), store.url)
            finally:
                await client.aclose()
