"""Makes `old_store_5.json`: a store as schema 5 left it, as plain commands, with the facts that tests need.

Run it with the environment of commit ae423a8, the last one that wrote schema 5, at a time in the past, so that
every machine is later than the store:

    LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 FAKETIME='@2026-01-01 12:00:00' TZ=UTC \
        FAKETIME_DONT_FAKE_MONOTONIC=1 <ae423a8>/.venv/bin/python tests/support/make_old_store.py

What a test has to find alive is made with lifetimes of a hundred years: codes, invoices, idempotency records.
`old_store_4.json` is what an earlier version of this file made with commit f33bbbd.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from technopay.storage import RedisStore

old: Any = importlib.import_module("technopay.engine")  # as it was then

SECRET = "the-secret-of-a-store-of-schema-5:0f4b9c71d2"
CENTURY_S = 100 * 365 * 86_400
FAR = datetime(2100, 1, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {
    "secret": SECRET,
    "codes_per_hour": None,
    "confirms_per_minute": None,
    "failures_per_day": None,
    "settlement_timeout_s": 0.1,
    "settlement_backoff_s": 0.005,
    "settlement_silence_s": 0.5,
    "agenda_interval_s": 0.05,
    "idempotency_kept_s": CENTURY_S,
}


class CodeCollector:
    """A mock channel that keeps the codes, by payment and text of the message."""

    def __init__(self, store: Any) -> None:
        self._channel = old.MockChannel(store)
        self.codes: list[tuple[str, str]] = []

    async def deliver(self, message: Any) -> None:
        if message.code is not None:
            self.codes.append((message.payment_id, message.code))
        await self._channel.deliver(message)

    async def code_of(self, payment_id: str, number: int) -> str:
        """Wait for the nth code of a payment; one can be delivered more than once."""
        for _ in range(400):
            codes = list(dict.fromkeys(code for sent_for, code in self.codes if sent_for == payment_id))
            if len(codes) >= number:
                return codes[number - 1]
            await asyncio.sleep(0.01)
        raise AssertionError(f"no code {number} was sent for {payment_id}")


class Maker:
    """Makes records with the engine of then, and notes down what a test has to know of them."""

    def __init__(self, engine: Any, collector: CodeCollector) -> None:
        self.engine = engine
        self.collector = collector
        self.channels = {"email": collector, "sms": collector}
        self.facts: dict[str, Any] = {
            "secret": SECRET,
            "users": {},
            "wallets": {},
            "invoices": {},
            "payments": {},
        }

    def engine_beside(self, store: Any, settings: dict[str, Any], **services: Any) -> Any:
        """Make another engine, which may be the one that delivers the messages of both."""
        return old.Engine(store, old.EngineSettings(**settings), channels=self.channels, **services)

    async def user(self, user_id: str, **addresses: str) -> None:
        user = await self.engine.create_user(user_id=user_id, **addresses)
        self.facts["users"][user_id] = json.loads(user.model_dump_json())

    async def wallet(self, user_id: str, currency: str, amount: int) -> None:
        wallet = await self.engine.create_wallet(user_id=user_id, currency=currency)
        await self.engine.deposit(wallet_id=wallet.id, amount=amount)
        self.facts["wallets"][f"{user_id} {currency}"] = wallet.id

    async def invoice(self, name: str, user_id: str = "alice", **changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "amount": 1_250,
            "currency": "EUR",
            "merchant": "bookshop",
            "expires_at": FAR,
        } | changes
        invoice = await self.engine.create_invoice(user_id=user_id, **arguments)
        kept = arguments | {
            "expires_at": arguments["expires_at"].isoformat(),
            "id": invoice.id,
            "user_id": user_id,
        }
        self.facts["invoices"][name] = kept
        return kept

    async def start(
        self, name: str, user_id: str = "alice", engine: Any = None, **changes: Any
    ) -> dict[str, Any]:
        invoice = await self.invoice(name, user_id, **changes)
        wallet_id = self.facts["wallets"][f"{user_id} {invoice['currency']}"]
        key = f"start-{name}"
        payment = await (engine or self.engine).start_payment(
            user_id=user_id, invoice_id=invoice["id"], wallet_id=wallet_id, idempotency_key=key
        )
        kept = {
            "id": payment.id,
            "user_id": user_id,
            "wallet_id": wallet_id,
            "invoice_id": invoice["id"],
            "key": key,
        }
        kept["code"] = await self.collector.code_of(payment.id, 1)
        self.facts["payments"][name] = kept
        return kept

    async def resend(self, payment: dict[str, Any], number: int = 2) -> None:
        await self.engine.resend_code(
            user_id=payment["user_id"], payment_id=payment["id"], idempotency_key=f"resend-{number}"
        )
        payment["code"] = await self.collector.code_of(payment["id"], number)

    async def confirm(
        self, payment: dict[str, Any], code: str | None = None, engine: Any = None, wait_s: float = 10
    ) -> Any:
        return await (engine or self.engine).confirm_payment(
            user_id=payment["user_id"], payment_id=payment["id"], code=code or payment["code"], wait_s=wait_s
        )

    async def fail(self, payment: dict[str, Any], code: str | None = None) -> None:
        try:
            await self.confirm(payment, code)
        except old.Refusal:
            return
        raise AssertionError("it should have been refused")


def wrong(code: str) -> str:
    return str((int(code) + 1) % 1_000_000).zfill(6)


async def make(maker: Maker, store: Any) -> None:
    """Make something of each kind."""
    engine = maker.engine
    await maker.user("alice", email="alice@example.com")
    await maker.user("bob", phone="+15550100")
    await maker.user("carol", email="dead.carol@example.com")
    await maker.user("dave", email="dave@example.com")
    for user_id, currency, amount in (
        ("alice", "EUR", 100_000), ("alice", "USD", 20_000), ("alice", "JPY", 5_000), ("bob", "EUR", 40_000),
        ("carol", "EUR", 9_999), ("dave", "EUR", 2_000),
    ):  # fmt: skip
        await maker.wallet(user_id, currency, amount)
    await engine.set_limit(currency="EUR", amount=1_000_000)
    await engine.set_limit(currency="USD", amount=0)
    await engine.set_limit(currency="USD", amount=None)
    await engine.set_limit(currency="CHF", amount=77)
    await engine.set_limit(currency="GBP", amount=None)  # lifted, and never set

    await maker.invoice("open", description="two books", reference="R-1")
    await maker.invoice("void", reference="R-2")
    await engine.void_invoice(invoice_id=maker.facts["invoices"]["void"]["id"], idempotency_key="void-1")
    await maker.invoice("expired", reference="R-3", expires_at=datetime.now(UTC) + timedelta(seconds=1))
    await maker.invoice("keyed", reference="Bestellung Ä-7", description="für Ö", idempotency_key="invoice-1")

    await make_ended(maker, store)
    await maker.start("live")
    await maker.start("live without a limit", currency="USD")
    guessed = await maker.start("live with wrong codes")
    for _ in range(2):
        await maker.fail(guessed, wrong(guessed["code"]))
    resent = await maker.start("live and resent", "bob")
    await maker.resend(resent)
    await maker.fail(resent, wrong(resent["code"]))
    await maker.resend(resent, 3)
    refused = await maker.start("live and refused", "dave", amount=1_500)
    await maker.confirm(await maker.start("spent", "dave"))
    await maker.fail(refused)
    async with maker.engine_beside(store, SETTINGS) as short_lived:
        await maker.start("expiring", engine=short_lived)
    await maker.start("of carol", "carol")
    await engine.deposit(wallet_id=maker.facts["wallets"]["bob EUR"], amount=111, idempotency_key="deposit-1")
    await engine.block_user(user_id="dave", idempotency_key="block-1")
    await engine.deactivate_wallet(
        wallet_id=maker.facts["wallets"]["alice JPY"], idempotency_key="deactivate-1"
    )


async def make_ended(maker: Maker, store: Any) -> None:
    """Make payments that are not waiting for their codes any more, or need an operator."""
    engine = maker.engine
    await maker.confirm(await maker.start("succeeded", reference="Paid-é"))
    await maker.confirm(await maker.start("succeeded without a limit", currency="USD"))
    await maker.fail(await maker.start("declined", merchant="bookshop-declines"))
    refunded = await maker.start("refunded", "bob")
    await maker.confirm(refunded)
    await engine.refund_payment(payment_id=refunded["id"], idempotency_key="refund-1")
    canceled = await maker.start("canceled")
    await engine.cancel_payment(user_id="alice", payment_id=canceled["id"], idempotency_key="cancel-1")
    guessed = await maker.start("guessed")
    for _ in range(5):
        await maker.fail(guessed, wrong(guessed["code"]))
    for name in ("set aside", "resolved as settled", "resolved as refunded"):
        stuck = await maker.start(name, merchant="bookshop-stuck")
        await maker.confirm(stuck)
        await wait_for_status(engine, stuck, "processing", set_aside=True)
        if name != "set aside":
            await engine.resolve_payment(
                payment_id=stuck["id"], outcome="settled" if name == "resolved as settled" else "refund",
                note="they said so", by="root", idempotency_key=f"resolve-{name}",
            )  # fmt: skip

    async with maker.engine_beside(store, SETTINGS | {"code_lifetime_s": 1}) as short_lived:
        await wait_for_status(engine, await maker.start("expired", engine=short_lived), "expired")
    kept = await maker.start("refund failed", "bob")
    await maker.confirm(kept)
    declining = old.ScriptedSettlementService(reverse=["declined"])
    async with maker.engine_beside(store, SETTINGS, settlement_service=declining) as bank:
        await bank.refund_payment(payment_id=kept["id"])
        await wait_for_status(engine, kept, "succeeded")


async def leave_under_way(maker: Maker, store: Any) -> None:
    """Leave a payment to be settled and a refund to be reversed, as an engine does that ends."""
    refunding = maker.facts["payments"]["refunding"]
    silent = {question: [old.SILENCE] for question in ("settle", "status", "call_off", "reverse")}
    patient = SETTINGS | {"settlement_timeout_s": 60.0, "settlement_silence_s": 60.0, "drain_s": 0.1}
    service = old.ScriptedSettlementService(**silent)
    async with maker.engine_beside(store, patient, settlement_service=service) as engine:
        await maker.confirm(maker.facts["payments"]["processing"], engine=engine, wait_s=0)
        begun = await engine.refund_payment(payment_id=refunding["id"], idempotency_key="refund-2")
        assert begun.status == "refunding", begun


async def wait_for_status(engine: Any, payment: dict[str, Any], status: str, **fields: Any) -> None:
    for _ in range(1_000):
        found = await engine.find_payment(payment_id=payment["id"])
        stored = await engine._store._fetch("HGET", f"{{tp:00}}:payment:{payment['id']}", "status")
        if found.status == stored == status and all(getattr(found, name) == fields[name] for name in fields):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"a payment is not {status}: {found}")


async def wait_for_messages(engine: Any, status: str, count: int) -> None:
    for _ in range(400):
        if len((await engine.list_messages(status=status, limit=100)).data) == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"there are not {count} messages {status}")


def order_of(command: list[str]) -> tuple[str, tuple[int, int]]:
    """Sort by key, and the entries of a stream as they were written."""
    entry = command[2].split("-") if command[0] == "XADD" else ("0", "0")
    return command[1], (int(entry[0]), int(entry[1]))


async def dump(client: Any) -> list[list[str]]:
    """Write every key as commands that every server and its fake understand."""
    commands: list[list[str]] = []
    async for key in client.scan_iter(count=1000):
        match await client.type(key):
            case "hash":
                commands.append(
                    [
                        "HSET",
                        key,
                        *(word for pair in sorted((await client.hgetall(key)).items()) for word in pair),
                    ]
                )
            case "zset":
                scored = await client.zrange(key, 0, -1, withscores=True)
                commands.append(
                    ["ZADD", key, *(str(word) for name, score in scored for word in (int(score), name))]
                )
            case "list":
                commands.append(["RPUSH", key, *await client.lrange(key, 0, -1)])
            case "set":
                commands.append(["SADD", key, *sorted(await client.smembers(key))])
            case "stream":
                for entry, fields in await client.xrange(key):
                    commands.append(["XADD", key, entry, *(word for pair in fields.items() for word in pair)])
            case other:
                raise AssertionError(f"{key} is a {other}")
    return sorted(commands, key=order_of)


async def main() -> None:
    """Make the store in an embedded server, and write it beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        async with RedisStore.embedded(folder) as store:
            collector = CodeCollector(store)
            channels = {"email": collector, "sms": collector}
            dying = SETTINGS | {"code_lifetime_s": CENTURY_S, "message_attempts": 2, "message_backoff_s": 0.01}
            async with old.Engine(store, old.EngineSettings(**dying), channels=channels) as engine:
                maker = Maker(engine, collector)
                await make(maker, store)
                await wait_for_messages(engine, "dead", 1)
                [dead] = (await engine.list_messages(status="dead")).data
                await engine.send_message_again(message_id=dead.id, idempotency_key="again-1")
                await wait_for_messages(engine, "dead", 1)
                await maker.start("processing")
                await maker.confirm(await maker.start("refunding", "bob"))
                await asyncio.sleep(1)
            waiting = SETTINGS | {"code_lifetime_s": CENTURY_S, "message_backoff_s": 60.0}
            async with old.Engine(store, old.EngineSettings(**waiting), channels=channels) as engine:
                maker.engine = engine
                await maker.start("of carol again", "carol")
                await wait_for_messages(engine, "waiting", 1)
            await leave_under_way(maker, store)
            audit = await store.audit()
            assert audit.clean, audit
            async with Redis.from_url(str(store.url), decode_responses=True) as client:
                maker.facts["made_at_ms"] = int(datetime.now(UTC).timestamp() * 1000)
                maker.facts["dead_message"] = dead.id
                commands = await dump(client)
    lines = ",\n".join(json.dumps(command, ensure_ascii=True) for command in commands)
    facts = json.dumps(maker.facts, indent=1, ensure_ascii=True)
    target = Path(__file__).with_name("old_store_5.json")
    target.write_text(f'{{"facts": {facts},\n"commands": [\n{lines}\n]}}\n')
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes, {audit.checked}\n")


if __name__ == "__main__":
    asyncio.run(main())
