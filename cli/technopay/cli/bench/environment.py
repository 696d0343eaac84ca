"""The environment of a measurement: an embedded store with users, wallets and invoices, and its figures."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from redis.asyncio import Redis

from technopay.cli.process import for_each
from technopay.engine import Engine, EngineSettings, MessageCode
from technopay.engine.commands import ChangeBalance, CreateInvoice, CreateUser, CreateWallet, SetLimit
from technopay.engine.ports import OutgoingMessage
from technopay.engine.system import RandomIds
from technopay.engine.values import Lease, Operation, PaymentTerms, RefundTerms
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys

SEEDING_AT_A_TIME = 512
SEEDING_CHUNK = 2_000
KEYS = Keys()
AMOUNT = 125
BALANCE = 1_000_000_000
CURRENCY = "EUR"
LIMIT = 10**15
SECRET = "a secret of the benchmark, and of it alone"  # noqa: S105
NO_LEASE = Lease("bench", "", keep=False)
NOT_RECORDED = Operation("bench")


class ImmediateSettlement:
    """Settles at once, without calling a service."""

    async def settle(self, terms: PaymentTerms) -> Literal["settled"]:  # noqa: ARG002
        return "settled"

    async def status(self, terms: PaymentTerms) -> Literal["settled"]:  # noqa: ARG002
        return "settled"

    async def call_off(self, terms: PaymentTerms) -> Literal["already_settled"]:  # noqa: ARG002
        return "already_settled"

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed"]:  # noqa: ARG002
        return "reversed"


class CodeCollector:
    """A channel that takes every message and returns the code of a payment as soon as it has come."""

    def __init__(self) -> None:
        self._codes: dict[str, asyncio.Future[str]] = {}

    async def deliver(self, message: OutgoingMessage) -> None:
        if message.code is not None:
            self._code_of(message.payment_id).set_result(message.code)

    async def read_code(self, payment_id: str) -> str:
        code = await self._code_of(payment_id)
        del self._codes[payment_id]
        return code

    def _code_of(self, payment_id: str) -> asyncio.Future[str]:
        if payment_id not in self._codes:
            self._codes[payment_id] = asyncio.get_running_loop().create_future()
        return self._codes[payment_id]


@dataclass(frozen=True, slots=True)
class OpenInvoice:
    """An invoice to pay, with its user and wallet."""

    user_id: str
    wallet_id: str
    invoice_id: str


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """The totals of the store since its start."""

    script_us: int
    aof_bytes: int
    memory_bytes: int


@dataclass(slots=True)
class Environment:
    """A store to measure, with everything that an engine on it takes."""

    store: RedisStore
    client: Redis
    data_dir: Path
    verifier: MessageCode
    settings: EngineSettings
    codes: CodeCollector
    ids: RandomIds
    url: str
    users: int = 0

    def engine(self) -> Engine:
        """Make an engine with an immediate settlement and immediate channels."""
        return Engine(
            self.store,
            self.settings,
            settlement_service=ImmediateSettlement(),
            channels={"email": self.codes, "sms": self.codes},
            verifier=self.verifier,
        )

    async def seed_wallets(self, count: int) -> list[tuple[str, str]]:
        """Make users with one full wallet each; return their ids."""
        pairs = self._new_pairs(count)
        await for_each(pairs, self._seed_wallet, SEEDING_AT_A_TIME)
        return pairs

    async def seed_many_wallets(self, count: int) -> list[tuple[str, str]]:
        """Make very many users with one wallet each by plain commands: scripts would take minutes."""
        pairs = self._new_pairs(count)
        created_at = "1763856000000"
        user: dict[Any, Any] = {"status": "active", "email": "someone@example.com", "created_at": created_at}
        money = {"currency": CURRENCY, "balance": str(BALANCE), "ledger": str(BALANCE)}
        for begin in range(0, count, SEEDING_CHUNK):
            async with self.client.pipeline(transaction=False) as writing:
                for user_id, wallet_id in pairs[begin : begin + SEEDING_CHUNK]:
                    wallet: dict[Any, Any] = {"user": user_id, **money, "status": "active"}
                    writing.hset(KEYS.key("user", user_id), mapping=user | {wallet_id: ""})
                    writing.hset(KEYS.key("wallet", wallet_id), mapping=wallet | {"created_at": created_at})
                await writing.execute()
        return pairs

    async def seed_invoices(self, pairs: list[tuple[str, str]], count: int) -> list[OpenInvoice]:
        """Make invoices, for one user after the other."""
        invoices = [OpenInvoice(*pairs[number % len(pairs)], self.ids.new("inv", 0)) for number in range(count)]
        await for_each(invoices, self._seed_invoice, SEEDING_AT_A_TIME)
        return invoices

    async def figures(self) -> StoreFigures:
        info = await self.client.info("everything")
        script = info.get("cmdstat_fcall", {"usec": 0})
        return StoreFigures(script["usec"], info["aof_current_size"], info["used_memory"])

    async def wait_for_relay(self) -> None:
        """Wait until every message of the journal is delivered, also of entries written meanwhile."""
        async with asyncio.timeout(60):
            while True:
                newest: Any = await self.client.xrevrange(KEYS.journal, count=1)
                if await self.client.hget(KEYS.key("relay"), "cursor") == newest[0][0]:
                    return
                await asyncio.sleep(0.005)

    def _new_pairs(self, count: int) -> list[tuple[str, str]]:
        first, self.users = self.users, self.users + count
        return [(f"user{number}", self.ids.new("wal", 0)) for number in range(first, first + count)]

    async def _seed_wallet(self, pair: tuple[str, str]) -> None:
        user_id, wallet_id = pair
        await self.store.run(CreateUser(NOT_RECORDED, user_id, f"{user_id}@example.com", None))
        await self.store.run(CreateWallet(NOT_RECORDED, wallet_id, user_id, CURRENCY))
        await self.store.run(ChangeBalance(NOT_RECORDED, wallet_id, BALANCE), NO_LEASE)

    async def _seed_invoice(self, each: OpenInvoice) -> None:
        expires_at = datetime.now(UTC) + timedelta(days=30)
        invoice = CreateInvoice(
            NOT_RECORDED, each.invoice_id, each.user_id, AMOUNT, CURRENCY, "Bookshop", None, None, expires_at
        )
        await self.store.run(invoice)


def lax_settings(**changes: Any) -> EngineSettings:
    """Return settings without limits on behaviour: one user buys thousands of times."""
    return EngineSettings(
        secret=SECRET,
        codes_per_hour=None,
        confirms_per_minute=None,
        failures_per_day=None,
        **changes,
    )


@asynccontextmanager
async def open_environment() -> AsyncIterator[Environment]:
    """Open a store of its own in a temporary directory."""
    settings = lax_settings(mailbox_capacity=100_000, commands_waiting_max=100_000)
    verifier = MessageCode(code_key=settings.derive_key("code"))
    with tempfile.TemporaryDirectory(prefix="technopay-bench-") as folder:
        async with RedisStore.embedded(folder) as store:
            assert store.url is not None
            client: Redis = Redis.from_url(store.url, decode_responses=True)
            try:
                await store.run(SetLimit(Operation("limit"), CURRENCY, LIMIT))
                yield Environment(
                    store, client, Path(folder), verifier, settings, CodeCollector(), RandomIds(), store.url
                )
            finally:
                await client.aclose()
