"""A caller who leaves while the store works on a command delays nothing of what follows from its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.gated import GatedWorld
from support.fixtures.script_names import script_of

from technopay.engine import PaymentNotRefundable
from technopay.engine.commands import Command

BY_THEMSELVES_S = 60.0
"""So seldom the engine looks by itself: what is seen sooner followed from the outcome. A claim lasts 15 s."""
SOON_S = 8.0

Act = Callable[[], Awaitable[Any]]
Seen = Callable[[], Awaitable[Any]]


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("technopay.engine.events.waiters.WAIT_INTERVAL_S", BY_THEMSELVES_S)
    return {"agenda_interval_s": BY_THEMSELVES_S, "events_interval_s": BY_THEMSELVES_S, "message_attempts": 1}


async def confirm(world: GatedWorld) -> tuple[Act, Seen]:
    payment = await world.setup.start()
    code = await world.setup.right_code(payment)
    return lambda: world.setup.confirm(payment, code), lambda: has_status(world, payment.id, "succeeded")


async def confirm_without_funds(world: GatedWorld) -> tuple[Act, Seen]:
    payment, _ = await world.setup.start(), await world.setup.pay()
    for _ in range(3):
        await world.setup.pay()
    return lambda: world.setup.confirm(payment), lambda: is_told(world, "payment.refused")


async def start(world: GatedWorld) -> tuple[Act, Seen]:
    invoice = await world.setup.invoice()
    return lambda: world.setup.start(invoice), lambda: is_told(world, "confirmation.code")


async def resend(world: GatedWorld) -> tuple[Act, Seen]:
    payment = await world.setup.start()
    await world.setup.message("confirmation.code")
    act = lambda: world.engine.resend_code(user_id="alice", payment_id=payment.id)  # noqa: E731
    return act, lambda: is_told(world, "confirmation.code", 2)


async def cancel(world: GatedWorld) -> tuple[Act, Seen]:
    payment = await world.setup.start()
    seen = await watch(world, payment.id)
    return lambda: world.engine.cancel_payment(user_id="alice", payment_id=payment.id), seen


async def refund(world: GatedWorld) -> tuple[Act, Seen]:
    payment = await world.setup.pay()
    act = lambda: world.engine.refund_payment(payment_id=payment.id)  # noqa: E731
    return act, lambda: has_status(world, payment.id, "refunded")


async def resolve(world: GatedWorld) -> tuple[Act, Seen]:
    payment = await world.setup.pay(await world.setup.invoice(merchant="shop-stuck"))
    assert payment.set_aside
    with pytest.raises(PaymentNotRefundable, match="resolve"):
        await world.engine.refund_payment(payment_id=payment.id)
    act = lambda: world.engine.resolve_payment(  # noqa: E731
        payment_id=payment.id, outcome="settled", note="n", by="olga"
    )
    return act, lambda: is_told(world, "payment.succeeded")


async def void(world: GatedWorld) -> tuple[Act, Seen]:
    payment = await world.setup.start()
    act = lambda: world.engine.void_invoice(invoice_id=payment.invoice_id)  # noqa: E731
    return act, lambda: is_told(world, "payment.canceled")


async def create_invoice(world: GatedWorld) -> tuple[Act, Seen]:
    events = await world.engine.events(user_id="alice")
    heard = asyncio.create_task(anext(events))

    async def seen() -> bool:
        return heard.done()

    return world.setup.invoice, seen


async def send_again(world: GatedWorld) -> tuple[Act, Seen]:
    await world.engine.create_user(user_id="dora", email="dead@example.com")
    wallet = await world.engine.create_wallet(user_id="dora", currency="EUR")
    await world.engine.deposit(wallet_id=wallet.id, amount=10_000)
    invoice = await world.engine.create_invoice(
        user_id="dora",
        amount=1,
        currency="EUR",
        merchant="shop",
        expires_at=(await world.setup.invoice()).expires_at,
    )
    await world.engine.start_payment(user_id="dora", invoice_id=invoice.id, wallet_id=wallet.id)

    async def dead() -> Any:
        world.engine._runtime.agenda.wake()
        return (await world.engine.list_messages(status="dead", user_id="dora")).data

    (message,) = await wait_for(dead)

    async def is_dead_again() -> bool:
        (now,) = (await world.engine.list_messages(user_id="dora")).data
        return now.status == "dead" and now.at > message.at

    return lambda: world.engine.send_message_again(message_id=message.id), is_dead_again


async def has_status(world: GatedWorld, payment_id: str, status: str) -> bool:
    return (await world.engine.find_payment(payment_id=payment_id)).status == status


async def is_told(world: GatedWorld, kind: str, times: int = 1) -> bool:
    return len(await world.setup.messages(kind)) >= times


async def watch(world: GatedWorld, payment_id: str) -> Seen:
    """Wait for the end of a payment; it can be seen when that is over."""
    waiting = asyncio.create_task(world.engine.get_payment(user_id="alice", payment_id=payment_id, wait_s=10))

    async def seen() -> bool:
        return waiting.done()

    async def begun() -> bool:
        return world.engine._runtime.waiters.count(payment_id) > 0

    await wait_for(begun)
    return seen


@asynccontextmanager
async def stopped_at(
    world: GatedWorld, script: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Event]:
    """Stop the server when a script is sent to it; it goes on in the end."""
    sent, send = asyncio.Event(), world.store._partition.send

    def stop(command: Command[Any], *rest: Any) -> None:
        if script_of(command) == script and not sent.is_set():
            world.server.pause()
            sent.set()
        send(command, *rest)

    monkeypatch.setattr(world.store._partition, "send", stop)
    try:
        yield sent
    finally:
        world.server.resume()


ACTS = {
    "start_payment": start,
    "confirm_payment": confirm,
    "resend_code": resend,
    "cancel_payment": cancel,
    "begin_refund": refund,
    "resolve_payment": resolve,
    "void_invoice": void,
    "create_invoice": create_invoice,
    "send_message_again": send_again,
}


@pytest.mark.parametrize("reply_is_lost", [False, True], ids=["", "reply lost"])
@pytest.mark.parametrize(
    ("script", "prepare"),
    [*ACTS.items(), ("confirm_payment", confirm_without_funds)],
    ids=[*ACTS, "confirm_payment refused"],
)
async def test_what_follows_an_outcome_does_not_wait_for_the_caller(
    world: GatedWorld,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    prepare: Callable[[GatedWorld], Awaitable[tuple[Act, Seen]]],
    *,
    reply_is_lost: bool,
) -> None:
    act, seen = await prepare(world)
    # What the preparation woke has ended: without this pause the test would be weaker, not fail.
    await asyncio.sleep(0.2)
    async with stopped_at(world, script, monkeypatch) as sent:
        caller = asyncio.ensure_future(act())
        await sent.wait()
        await asyncio.sleep(0)
        if reply_is_lost:
            await wait_for(world.is_cut)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
    await wait_for(world.is_ready)

    await wait_for(seen, within_s=SOON_S)
    await world.assert_sound()
