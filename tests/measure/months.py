"""The memory of a store over months of purchases, whose history leaves it: `python -m measure.months --help`.

The clock of the server is moved by libfaketime, a day at a time. A run by hand: it can take hours.
"""

import argparse
import asyncio
import os
import random
import shutil
import string
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Literal

from support.servers.real_servers import OwnServer

from technopay.cli.bench.environment import SECRET
from technopay.engine import Engine, EngineSettings, FixedCode
from technopay.engine.models import Method
from technopay.engine.ports import Channel, OutgoingMessage
from technopay.engine.values import PaymentTerms, RefundTerms
from technopay.storage import Archive, RedisStore
from technopay.storage.server.embedded import server_binary

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
WALLETS = 256
BUYERS = 64
AMOUNT = 100
REFERENCE_LENGTH = 20
CODE = "123456"


class Settled:
    """A settlement service that settles every payment and keeps nothing."""

    async def settle(self, terms: PaymentTerms) -> Literal["settled", "declined"]:
        return "settled"

    async def status(self, terms: PaymentTerms) -> Literal["settled"]:
        return "settled"

    async def call_off(self, terms: PaymentTerms) -> Literal["already_settled"]:
        return "already_settled"

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed", "declined"]:
        return "reversed"


class Silent:
    """A channel that keeps nothing."""

    async def deliver(self, message: OutgoingMessage) -> None:
        pass


@dataclass
class Shop:
    """Buyers with their wallets, and the time of the store."""

    engine: Engine
    wallets: Sequence[str]
    references: bool
    day: int = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.day)

    async def purchase(self, number: int) -> None:
        user_id = f"user-{number % WALLETS}"
        reference = (
            "".join(random.choices(string.ascii_letters, k=REFERENCE_LENGTH)) if self.references else None
        )
        invoice = await self.engine.create_invoice(
            user_id=user_id, amount=AMOUNT, currency="EUR", merchant="shop", reference=reference,
            expires_at=self.now() + timedelta(hours=1),
        )  # fmt: skip
        payment = await self.engine.start_payment(
            user_id=user_id, wallet_id=self.wallets[number % WALLETS], invoice_id=invoice.id
        )
        await self.engine.confirm_payment(user_id=user_id, payment_id=payment.id, code=CODE)

    async def purchases(self, count: int) -> None:
        numbers = iter(range(count))

        async def buy() -> None:
            for number in numbers:
                await self.purchase(number)

        await asyncio.gather(*(buy() for _ in range(BUYERS)))


async def run(days: int, purchases: int, keep_days: int, *, references: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="technopay-months-"))
    offset = folder / "offset"
    offset.write_text("+0d")
    faked = {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    server = OwnServer(server_binary(), folder, environment={**os.environ, **faked})
    server.start()
    settings = EngineSettings(secret=SECRET, codes_per_hour=None, confirms_per_minute=None)
    channels: Mapping[Method, Channel] = {"email": Silent(), "sms": Silent()}
    try:
        async with (
            RedisStore.connect(server.url, initialise=True) as store,
            Engine(
                store, settings, settlement_service=Settled(), channels=channels, verifier=FixedCode(CODE)
            ) as engine,
            Archive.at(str(folder / "archive.sqlite3")) as archive,
        ):
            archiver = await store.archiver(archive, keep_days=keep_days)
            wallets = []
            for number in range(WALLETS):
                await engine.create_user(user_id=f"user-{number}", email="anna@example.com")
                wallet = await engine.create_wallet(user_id=f"user-{number}", currency="EUR")
                await engine.deposit(wallet_id=wallet.id, amount=days * purchases * AMOUNT)
                wallets.append(wallet.id)
            shop = Shop(engine, wallets, references)
            before = await _used(store)
            for day in range(days):
                began_s = perf_counter()
                await shop.purchases(purchases)
                bought_s = perf_counter() - began_s
                shop.day = day + 1
                offset.write_text(f"+{shop.day}d")
                await _wait_for_agenda(store)
                began_s = perf_counter()
                await archiver.run()
                used = await _used(store)
                more, took_s = (used - before) / purchases, perf_counter() - began_s
                print(
                    f"day {shop.day}: {used / 1e6:.2f} MB, {more:.1f} bytes a purchase more;"
                    f" {purchases / bought_s:.0f} purchases/s; archived and trimmed in {took_s:.1f} s",
                    flush=True,
                )
                before = used
            size = (folder / "archive.sqlite3").stat().st_size
            print(f"archive: {size / days / purchases:.0f} bytes a purchase")
            began_s = perf_counter()
            verdict = await store.audit(full=True)
            print(f"audit in {perf_counter() - began_s:.1f} s: clean={verdict.clean} {verdict.differences[:3]}")
    finally:
        server.end()
        shutil.rmtree(folder)


async def _used(store: RedisStore) -> int:
    partition = store._partition
    await partition.fetch("MEMORY", "PURGE")
    info = await partition.fetch("INFO", "memory")
    return int(
        info["used_memory_dataset"]
        if isinstance(info, dict)
        else info.split("used_memory_dataset:")[1].split()[0]
    )


async def _wait_for_agenda(store: RedisStore) -> None:
    """Wait until the records of calls are gone, whose time is over."""
    partition = store._partition
    while True:
        await asyncio.sleep(1.5)
        seconds, _ = await partition.fetch("TIME")
        if await partition.fetch("ZCOUNT", partition.keys.key("agenda"), "-inf", int(seconds) * 1000) == 0:
            return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=92)
    parser.add_argument("--purchases", type=int, default=65_000, help="a day")
    parser.add_argument("--keep-days", type=int, default=10)
    parser.add_argument("--references", action="store_true", help="of 20 characters")
    given = parser.parse_args()
    asyncio.run(run(given.days, given.purchases, given.keep_days, references=given.references))
