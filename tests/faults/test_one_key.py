"""A hundred calls with one idempotency key, over four engines and over HTTP: one effect, one answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import make_setup, wait_for
from support.fixtures.http_api import invoice_body, make_person, running_api
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import Setup, client_of
from support.processes.engine_process import Answer, FarEngine, Role, running_far_engine
from support.processes.takeover import FAR_AHEAD, PRICE, confirm, prepare, start
from support.processes.worker import CODE, Call, make_engine, open_store
from support.servers.faked_server import running_faked_server

from technopay.engine import Engine, InvoiceAlreadyPaid
from technopay.storage import RedisStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINES, CALLS = 4, 100
KEPT = timedelta(hours=72)
FAILURES = 1_000

Json = Mapping[str, Any]

EFFECTS = {
    "create_user": "user.created", "create_wallet": "wallet.created", "create_invoice": "invoice.created",
    "deposit": "wallet.deposited", "start_payment": "payment.canceled, payment.started",
    "resend_code": "payment.code_resent", "cancel_payment": "payment.canceled",
    "refund_payment": "payment.refunding", "void_invoice": "invoice.voided, payment.canceled",
    "resolve_payment": "payment.resolved, payment.succeeded", "send_message_again": "",
    "block_user": "user.blocked", "unblock_user": "user.active", "unlock_user": "user.unlocked",
    "deactivate_wallet": "wallet.inactive", "activate_wallet": "wallet.active",
}  # fmt: skip
"""What each operation writes down, once."""


@dataclass(frozen=True)
class Field:
    """Four engines far away, one here, and the records."""

    far: Sequence[FarEngine]
    engine: Engine
    setup: Setup


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["valkey", "redis"])
async def field(request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    namespace = f"key{os.getpid()}{request.param}"
    settings = {"message_attempts": 1, "failures_per_day": FAILURES}
    role = Role(url, namespace, settings=settings)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(url, namespace, "UTC"))
        starting = (stack.enter_async_context(running_far_engine(role)) for _ in range(ENGINES))
        far = await asyncio.gather(*starting)
        engine = await stack.enter_async_context(make_engine(store, failures_per_day=FAILURES))
        yield Field(far, engine, Setup(store))
    await assert_books_balance(url, namespace)


def is_effect(said: Mapping[str, str], name: str) -> bool:
    """Whether an entry of the journal is what an operation writes down."""
    return said["type"] in EFFECTS[name].split(", ")


async def ready_calls(field: Field, user_id: str) -> dict[str, tuple[Call, Json]]:
    """Prepare one call of every keyed operation, and for each what makes it another call under the same key."""
    waiting, canceled, paid, other, voided = await prepare(field.far[0], 5, user_id)
    await field.far[0].ask("confirm_payment", **confirm(paid)[1])
    wallet = {"wallet_id": waiting["wallet_id"]}
    stuck, claim = await field.setup.processing(waiting["wallet_id"], PRICE, user_id)
    assert await set_aside(field.setup.store, stuck, claim, 300_000)
    invoice = {"user_id": user_id, "amount": 5, "currency": "EUR", "merchant": "m", "expires_at": FAR_AHEAD}
    begin = {"user_id": user_id, "invoice_id": other["invoice_id"], **wallet}
    whose = {"user_id": user_id}
    decision = {"payment_id": stuck, "outcome": "settled", "note": "asked", "by": "operator"}
    message = await dead_message(field, f"{user_id}-dead")
    await field.setup.lock_out(f"{user_id}-dead", FAILURES)
    return {
        "create_user": (("create_user", {"user_id": f"{user_id}-new"}), {"user_id": f"{user_id}-newer"}),
        "create_wallet": (("create_wallet", {**whose, "currency": "USD"}), {"currency": "CHF"}),
        "create_invoice": (("create_invoice", invoice), {"amount": 6}),
        "deposit": (("deposit", {**wallet, "amount": 5}), {"amount": 6}),
        "start_payment": (("start_payment", begin), {"method": "email"}),
        "resend_code": (("resend_code", {**whose, "payment_id": waiting["id"]}), {}),
        "cancel_payment": (("cancel_payment", {**whose, "payment_id": canceled["id"]}), {}),
        "refund_payment": (("refund_payment", {"payment_id": paid["id"]}), {}),
        "void_invoice": (("void_invoice", {"invoice_id": voided["invoice_id"]}), {}),
        "resolve_payment": (("resolve_payment", decision), {"note": "asked again"}),
        "send_message_again": (("send_message_again", {"message_id": message}), {}),
        "block_user": (("block_user", whose), {}),
        "unblock_user": (("unblock_user", whose), {}),
        "unlock_user": (("unlock_user", {"user_id": f"{user_id}-dead"}), {}),
        "deactivate_wallet": (("deactivate_wallet", wallet), {}),
        "activate_wallet": (("activate_wallet", wallet), {}),
    }


async def dead_message(field: Field, user_id: str) -> str:
    """Make a user whose address takes nothing, and a message to it that is dead; answer the message."""
    await field.engine.create_user(user_id=user_id, email="dead@example.com")
    wallet = await field.engine.create_wallet(user_id=user_id, currency="EUR")
    await field.engine.deposit(wallet_id=wallet.id, amount=PRICE)
    [payment] = await start(field.far[0], {"id": wallet.id, "user_id": user_id}, 1)
    await field.far[0].ask("confirm_payment", **confirm(payment)[1])

    async def look() -> str:
        page = await field.engine.list_messages(status="dead", user_id=user_id)
        return page.data[0].id if page.data else ""

    return await wait_for(look)


async def ask_all(field: Field, call: Call, key: str) -> list[Answer]:
    """Make one call a hundred times with one key, dealt out to all engines, at the same time."""
    name, arguments = call
    keyed: Call = (name, {**arguments, "idempotency_key": key})
    asked = [far.send([keyed] * (CALLS // ENGINES)) for far in field.far]
    return [answer for futures in asked for answer in await asyncio.gather(*futures)]


def without_progress(answer: Answer) -> dict[str, Any]:
    """Answer a record without what goes on after the call: a refund is under way, then done."""
    going_on = ("status", "refunds", "refunded_amount") if "refunds" in answer.record else ()
    return {name: value for name, value in answer.record.items() if name not in going_on}


async def test_a_hundred_calls_with_one_key_have_one_effect_and_one_answer(field: Field) -> None:
    user_id = "olga"
    for name, (call, change) in (await ready_calls(field, user_id)).items():
        before = len(await field.setup.entries())
        answers = await ask_all(field, call, f"key of {name}")

        assert {answer.code for answer in answers} == {"ok"}, name
        assert sum(not answer.replayed for answer in answers) == 1, name
        first = next(answer for answer in answers if not answer.replayed)
        for answer in answers:
            assert without_progress(answer) == without_progress(first), name
        own = [said for _, said in (await field.setup.entries())[before:] if is_effect(said, name)]
        assert len(own) == EFFECTS[name].count(",") + 1 if EFFECTS[name] else not own, f"{name}: {own}"
        if change:
            [other] = await asyncio.gather(
                *field.far[1].send([(name, {**call[1], **change, "idempotency_key": f"key of {name}"})])
            )
            assert other.code == "idempotency_key_reused", name


async def test_a_hundred_posts_with_one_key_to_two_servers_have_one_effect_and_one_answer(
    server_url: str, namespace: str
) -> None:
    async with AsyncExitStack() as stack:
        apis = []
        for _ in range(2):
            store = await stack.enter_async_context(open_store(server_url, namespace, "UTC"))
            apis.append(await stack.enter_async_context(running_api(store)))
        alice = await make_person(apis[0])
        invoice = await alice.invoice()
        wallet = f"/v1/admin/wallets/{alice.wallet_id}"
        for path, body, other in (
            (f"{wallet}/deposit", {"amount": 5}, {"amount": 6}),
            (
                "/v1/payments",
                {"invoice_id": invoice["id"], "wallet_id": alice.wallet_id},
                {"invoice_id": "inv_1"},
            ),
            ("/v1/admin/invoices", invoice_body("alice", reference="R-1"), {"amount": 1}),
        ):
            replies = await asyncio.gather(
                *(apis[number % 2].post(path, body, admin=True, key="once") for number in range(CALLS))
            )
            assert len({(reply.status, reply.text) for reply in replies}) == 1
            replays = [reply.headers.get("Idempotent-Replayed") for reply in replies]
            assert sorted(replays, key=str) == [None] + ["true"] * (CALLS - 1)
            refused = await apis[1].post(path, {**body, **other}, admin=True, key="once")
            refused.refuse(422, "idempotency_key_reused")
        assert await alice.balance() == 10_005
    await assert_books_balance(server_url, namespace)


async def test_a_key_is_forgotten_after_72_hours_and_a_paid_invoice_is_not_paid_again(namespace: str) -> None:
    begin = datetime(2026, 7, 5, 12, tzinfo=UTC)
    with running_faked_server(begin) as clock:
        async with open_store(clock.url, namespace, "UTC") as store, make_engine(store) as engine:
            alice = await make_setup(engine, store)
            invoice = await engine.create_invoice(
                user_id="alice", amount=10, currency="EUR", merchant="shop", expires_at=begin + 2 * KEPT
            )
            deposit: dict[str, Any] = {"wallet_id": alice.wallet_id, "amount": 5, "idempotency_key": "once"}
            assert not (await engine.deposit(**deposit)).replayed
            payment = await alice.start(invoice, key="once")
            await alice.confirm(payment, CODE)

            clock.set(begin + KEPT - timedelta(minutes=1))
            assert (await engine.deposit(**deposit)).replayed
            assert (await alice.start(invoice, key="once")).replayed
            clock.set(begin + KEPT + timedelta(minutes=1))
            await wait_for(lambda: has_no_operations(store))

            with pytest.raises(InvoiceAlreadyPaid):
                await alice.start(invoice, key="once")
            assert not (await engine.deposit(**deposit)).replayed
            assert await alice.balance() == 10_000 + 2 * 5 - 10
        await assert_books_balance(clock.url, namespace)


async def has_no_operations(store: RedisStore) -> bool:
    """Whether every record of a call was reaped."""
    return not await client_of(store).keys(store._keys.key("operation", "*"))
