"""One unreadable record: rubbish in a record of each kind leaves all other records usable."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.http_api import Api, inbox, make_person
from support.fixtures.store_commands import renew_claims, set_aside

from technopay.engine import (
    Engine,
    EngineSettings,
    Fault,
    Message,
    Payment,
    PaymentEvent,
    Refusal,
    read_mock_inbox,
)
from technopay.storage import RedisStore
from technopay.storage.audit.invariants import READABLE

pytestmark = pytest.mark.corrupts


@dataclass
class World:
    """Alice, with a broken record, and Bob, who must not be affected."""

    alice: Setup
    bob: Setup
    waiting: Payment
    stuck: Payment
    message: str

    @property
    def store(self) -> RedisStore:
        assert isinstance(self.alice.store, RedisStore)
        return self.alice.store

    async def write(self, command: str, kind: str, record_id: str | None, *words: str | int) -> None:
        """Write to the store behind the scripts' back."""
        await self.store._partition.fetch(command, self.store._keys.key(kind, record_id), *words)

    async def replace(self, kind: str, record_id: str | None) -> None:
        """Put a text in the place of a record."""
        await self.write("DEL", kind, record_id)
        await self.write("SET", kind, record_id, "rubbish")

    async def make_due(self, member: str) -> None:
        await self.write("ZADD", "agenda", None, 1, member)


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings(
        message_attempts=2, message_timeout_s=5, settlement_timeout_s=2, settlement_silence_s=30
    )


@pytest.fixture
async def world(engine: Engine, store: RedisStore) -> World:
    alice = await make_setup(engine, store, email="dead@example.com")
    bob = await make_setup(engine, store, "bob")
    await engine.set_limit(currency="EUR", amount=1_000_000)
    await engine.set_limit(currency="USD", amount=1_000_000)
    stuck = await alice.start(await alice.invoice(merchant="shop-stuck"))
    stuck = await alice.confirm(stuck, wait_s=0)
    waiting = await alice.start()

    async def dead_message() -> str | None:
        found = (await engine.list_messages(status="dead", user_id="alice")).data
        return found[0].id if found and found[0].kind == "confirmation.code" else None

    message = await wait_for(dead_message)
    assert message
    assert await set_aside(store, stuck.id, "1", 3_600_000)
    return World(alice, bob, waiting, stuck, message.removeprefix("msg_00"))


Break = Callable[[World], Awaitable[None]]


def replaced(kind: str, of: Callable[[World], str | None]) -> Break:
    async def write(world: World) -> None:
        await world.replace(kind, of(world))

    return write


def changed(kind: str, of: Callable[[World], str], *fields: str | int, due: str = "") -> Break:
    async def write(world: World) -> None:
        await world.write("HSET", kind, of(world), *fields)
        if due:
            await world.make_due(due + of(world))

    return write


def entered(*words: str) -> Break:
    """Write an entry of the journal; PAY stands for the payment that waits."""

    async def write(world: World) -> None:
        await world.write("XADD", "journal", None, "*", *(world.waiting.id if w == "PAY" else w for w in words))

    return write


def due(member: str, *record: str) -> Break:
    async def write(world: World) -> None:
        if record:
            await world.write("HSET", record[0], record[1], *record[2:])
        await world.make_due(member)

    return write


async def journal_entry_lost(world: World) -> None:
    await world.write("HSET", "message", world.message, "status", "waiting")
    await world.write("XDEL", "journal", None, world.message)
    await world.make_due(f"msg_{world.message}")


async def message_replaced(world: World) -> None:
    await world.replace("message", world.message)
    await world.make_due(f"msg_{world.message}")


async def payment_replaced(world: World) -> None:
    await world.replace("payment", world.waiting.id)
    await world.make_due(world.waiting.id)


async def code_replaced(world: World) -> None:
    await world.write("SET", "code", world.waiting.id, "rubbish")
    await world.make_due(world.waiting.id)


async def limit_replaced(world: World) -> None:
    await world.replace("limit", "global:USD")
    await world.write("SADD", "limits", None, "USD")


async def mock_message(world: World) -> None:
    await world.write("LPUSH", "mock:inbox", "alice", "rubbish")
    await read_mock_inbox(world.store, "alice")


def user(_: World) -> str:
    return "alice"


def wallet(world: World) -> str:
    return world.alice.wallet_id


def invoice(world: World) -> str:
    return world.waiting.invoice_id


def waiting(world: World) -> str:
    return world.waiting.id


def stuck(world: World) -> str:
    return world.stuck.id


def message(world: World) -> str:
    return world.message


EMAIL = "\x1fbad@example.com"
WAITING = ("status", "waiting")
RUBBISH: dict[str, Break] = {
    "user is a text": replaced("user", user),
    "user's e-mail": changed("user", user, "email", EMAIL),
    "user's status": changed("user", user, "status", "rubbish"),
    "user's created_at": changed("user", user, "created_at", "rubbish"),
    "wallet is a text": replaced("wallet", wallet),
    "wallet's balance": changed("wallet", wallet, "balance", "rubbish"),
    "wallet's status": changed("wallet", wallet, "status", "rubbish"),
    "wallet's entries": replaced("entries", wallet),
    "invoice is a text": replaced("invoice", invoice),
    "invoice's amount": changed("invoice", invoice, "amount", "rubbish"),
    "invoice's expiry": changed("invoice", invoice, "expires_at", "9" * 40),
    "payment is a text": payment_replaced,
    "payment's amount": changed("payment", waiting, "amount", "1e3"),
    "payment's code": code_replaced,
    "payment's status": changed("payment", waiting, "status", "rubbish", due=""),
    "payment's created_at": changed("payment", waiting, "created_at", "9" * 40),
    "payment's merchant": changed("payment", waiting, "merchant", "a\x1fb\x1fc\x1fd"),
    "processing payment's currency": changed("payment", stuck, "currency", "rubbish"),
    "processing payment's amount": changed("payment", stuck, "amount", "rubbish"),
    "processing payment's version": changed("payment", stuck, "version", "rubbish"),
    "entry of no type": entered("rubbish", "rubbish"),
    "entry of no payment": entered("payment.started", "rubbish"),
    "entry without version": entered("payment.failed", "PAY", "reason", "rubbish"),
    "entry's version": entered("payment.refused", "PAY", "version", "rubbish", "reason", "rubbish"),
    "entry's time": entered("payment.started", "PAY", "at", "rubbish"),
    "entry's amount": entered("payment.processing", "PAY", "version", "2", "amount", "rubbish"),
    "entry's code number": entered("payment.code_resent", "PAY", "version", "2", "issue", "rubbish"),
    "message is a text": message_replaced,
    "message's status": changed("message", message, "status", "rubbish", due="msg_"),
    "message's attempts": changed("message", message, *WAITING, "attempts", "rubbish", due="msg_"),
    "message's channel": changed("message", message, *WAITING, "channel", "fax", due="msg_"),
    "message's claim": changed("message", message, *WAITING, "claim", "rubbish", due="msg_"),
    "message's kind": changed("message", message, *WAITING, "kind", "rubbish", due="msg_"),
    "message's payment": changed("message", message, *WAITING, "payment", "rubbish", due="msg_"),
    "message without entry": journal_entry_lost,
    "agenda's member": due("rubbish"),
    "agenda's message": due("msg_rubbish", "message", "rubbish", *WAITING),
    "operation's reply": changed("operation", lambda _: "rubbish", "fingerprint", "f", "reply", "{rubbish"),
    "operation is a text": replaced("operation", lambda _: "rubbish"),
    "limit is a text": limit_replaced,
    "limit's amount": changed("limit", lambda _: "global:USD", "limit", "rubbish"),
    "mock inbox's message": mock_message,
    "mock inbox is a text": replaced("mock:inbox", user),
    "mock settlement is a text": replaced("mock:settlement", stuck),
}  # fmt: skip
NOT_AUDITED = {"mock inbox's message", "message's payment"}
"""No other record depends on them."""


async def everything_of(setup: Setup) -> None:
    """Pay as users do, with an event stream, a code by message, and all lists of the user."""
    engine = setup.engine
    async with await engine.events(user_id=setup.user_id) as events, asyncio.timeout(15):
        payment = await setup.start(await setup.invoice(100))
        paid = await setup.confirm(payment, await setup.code_from_inbox(payment))
        assert paid.status == "succeeded"
        async for event in events:
            if isinstance(event, PaymentEvent) and event.type == "payment.succeeded":
                assert event.payment.id == payment.id
                break
    told = await setup.messages("payment.succeeded")
    while not any(each.message.payment_id == payment.id for each in told):
        await asyncio.sleep(0.01)
        told = await setup.messages("payment.succeeded")
    assert payment.id in [each.id for each in (await engine.list_payments(user_id=setup.user_id)).data]
    assert len((await engine.list_invoices(user_id=setup.user_id)).data) >= 1
    assert len((await engine.list_wallets(user_id=setup.user_id)).data) == 1
    assert (await engine.list_entries(user_id=setup.user_id, wallet_id=setup.wallet_id)).data
    assert (await engine.get_statement(user_id=setup.user_id, wallet_id=setup.wallet_id)).data
    assert [each.currency for each in await engine.list_limits(user_id=setup.user_id)] == ["EUR"]


async def all_messages(engine: Engine, **filters: Any) -> list[Message]:
    page = await engine.list_messages(limit=100, **filters)
    assert not page.has_more
    return page.data


@pytest.mark.parametrize("broken", RUBBISH.values(), ids=RUBBISH.keys())
async def test_all_others_go_on(
    world: World, broken: Break, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    engine, name = world.bob.engine, request.node.callspec.id.partition("-")[2]
    caplog.set_level(logging.ERROR)
    assert (await engine.audit()).clean

    await broken(world)
    engine._runtime.agenda.wake()
    for _ in range(2):
        await everything_of(world.bob)

    assert world.bob.user_id in {each.user_id for each in (await engine.search_payments(limit=100)).data}
    await engine.search_payments(set_aside=True)
    assert world.bob.user_id in {each.user_id for each in await all_messages(engine)}
    assert "EUR" in [each.currency for each in await engine.list_all_limits()]
    await engine.measure()
    for look in (
        engine.list_wallets, engine.list_payments, engine.list_invoices, engine.list_limits,
    ):  # fmt: skip
        with suppress(Fault):
            await look(user_id="alice")
    with suppress(Fault, Refusal):
        await world.alice.start()
    await read_mock_inbox(world.store, "bob")
    audit = await engine.audit()
    assert audit.clean == (name in NOT_AUDITED), audit.differences
    assert "crashed" not in caplog.text
    assert "pauses" not in caplog.text


async def test_claims_are_renewed_beside_one_that_cannot_be_read(world: World) -> None:
    await world.replace("payment", world.waiting.id)

    claims: list[Any] = [("payment", world.waiting.id, "1"), ("payment", world.stuck.id, "1")]

    assert await renew_claims(world.store, claims, keep=True) == [False, True]


@pytest.fixture
def served(any_api: Api) -> Api:
    any_api.faults_expected = True
    return any_api


async def test_an_address_with_a_separator_stops_nobody(served: Api, caplog: pytest.LogCaptureFixture) -> None:
    alice, bob = await make_person(served), await make_person(served, "bob")
    store = served.store
    await store._partition.fetch("HSET", store._keys.key("user", "alice"), "email", EMAIL)

    invoice = await alice.invoice()
    started = (await alice.ask_to_start(invoice, key="k")).expect(201)
    again = await alice.ask_to_start(invoice, key="k")
    assert (again.expect(201), again.headers["Idempotent-Replayed"]) == (started, "true")
    assert started["confirmation"]["sent_to"] == "\x1f***@example.com"
    assert (await alice.get(f"/payments/{started['id']}")).expect(200)["id"] == started["id"]
    payment = await bob.start()
    assert (await inbox(served, "bob", "confirmation.code"))[0]["payment_id"] == payment["id"]
    paid = (await bob.confirm(payment)).expect(200)
    assert (await inbox(served, "bob", "payment.succeeded"))[0]["payment_id"] == paid["id"]
    found = (await served.operate("GET", "/payments")).expect(200)["data"]
    assert [each["id"] for each in found] == [paid["id"], started["id"]]

    async def dead() -> Any:
        return (await served.operate("GET", "/notifications?status=dead")).expect(200)["data"]

    [message] = await wait_for(dead)
    assert (message["user_id"], message["to"], message["kind"]) == ("alice", EMAIL, "confirmation.code")
    audit = (await served.operate("GET", "/audit")).expect(200)
    found = [(each["invariant"], each["subject"]) for each in audit["differences"]]
    assert found == [(READABLE, "alice"), (READABLE, message["id"].removeprefix("msg_00"))]
    assert caplog.text.count(f"message '{message['id'].removeprefix('msg_00')}' cannot be read") == 1
    metrics = await served.get("/metrics", user=None)
    assert 'technopay_unreadable_records_total{kind="message"} 1.0' in metrics.text
    (await served.operate("POST", f"/invoices/{started['invoice_id']}/void")).expect(200)
    assert (await bob.pay())["status"] == "succeeded"
