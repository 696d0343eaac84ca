"""Follow-ups of outcomes: they come at once, even if the caller leaves while the command is under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.script_names import script_of

from technopay.engine import Engine, OutcomeUnknown
from technopay.engine.commands import Command
from technopay.engine.values import Lease
from technopay.storage import RedisStore

SELDOM_S = 60.0
"""The interval of every loop: a sooner effect is a follow-up of the outcome."""
SOON_S = 8.0

Act = Callable[[], Awaitable[Any]]
Seen = Callable[[], Awaitable[Any]]


@pytest.fixture
async def alice(fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    monkeypatch.setattr("technopay.engine.events.waiters.WAIT_INTERVAL_S", SELDOM_S)
    settings = quick_settings(agenda_interval_s=SELDOM_S, events_interval_s=SELDOM_S, message_attempts=1)
    async with Engine(fake_store, settings) as engine:
        yield await make_setup(engine, fake_store)


async def has_status(alice: Setup, payment_id: str, status: str) -> bool:
    return (await alice.engine.find_payment(payment_id=payment_id)).status == status


async def has_messages(alice: Setup, kind: str, count: int = 1) -> bool:
    return len(await alice.messages(kind)) >= count


async def start(alice: Setup) -> tuple[Act, Seen]:
    return partial(alice.start, await alice.invoice()), partial(has_messages, alice, "confirmation.code")


async def confirm(alice: Setup) -> tuple[Act, Seen]:
    payment = await alice.start()
    return partial(alice.confirm, payment), partial(has_status, alice, payment.id, "succeeded")


async def confirm_without_funds(alice: Setup) -> tuple[Act, Seen]:
    payment = await alice.start()
    await alice.pay(await alice.invoice(10_000))
    return partial(alice.confirm, payment), partial(has_messages, alice, "payment.refused")


async def resend(alice: Setup) -> tuple[Act, Seen]:
    payment = await alice.start()
    await alice.message("confirmation.code")
    act = partial(alice.engine.resend_code, user_id="alice", payment_id=payment.id)
    return act, partial(has_messages, alice, "confirmation.code", 2)


async def cancel(alice: Setup) -> tuple[Act, Seen]:
    engine, whose = alice.engine, {"user_id": "alice", "payment_id": (await alice.start()).id}
    waiting = asyncio.create_task(engine.get_payment(**whose, wait_s=10))

    async def has_begun() -> bool:
        return engine._runtime.waiters.count(whose["payment_id"]) > 0

    async def has_ended() -> bool:
        return waiting.done()

    await wait_for(has_begun)
    return partial(engine.cancel_payment, **whose), has_ended


async def refund(alice: Setup) -> tuple[Act, Seen]:
    payment = await alice.pay()
    act = partial(alice.engine.refund_payment, payment_id=payment.id)
    return act, partial(has_status, alice, payment.id, "refunded")


async def resolve(alice: Setup) -> tuple[Act, Seen]:
    payment = await alice.pay(await alice.invoice(merchant="shop-stuck"))
    assert payment.set_aside
    act = partial(alice.engine.resolve_payment, payment_id=payment.id, outcome="settled", note="n", by="olga")
    return act, partial(has_messages, alice, "payment.succeeded")


async def void(alice: Setup) -> tuple[Act, Seen]:
    payment = await alice.start()
    act = partial(alice.engine.void_invoice, invoice_id=payment.invoice_id)
    return act, partial(has_messages, alice, "payment.canceled")


async def create_invoice(alice: Setup) -> tuple[Act, Seen]:
    event = asyncio.create_task(anext(await alice.engine.events(user_id="alice")))

    async def is_there() -> bool:
        return event.done()

    return alice.invoice, is_there


async def send_again(alice: Setup) -> tuple[Act, Seen]:
    engine = alice.engine
    await (await make_setup(engine, alice.store, "dora", email="dead@example.com")).start()

    async def dead() -> Any:
        engine._runtime.agenda.wake()
        return (await engine.list_messages(status="dead", user_id="dora")).data

    (message,) = await wait_for(dead)

    async def is_dead_again() -> bool:
        (now,) = (await engine.list_messages(user_id="dora")).data
        return now.status == "dead" and now.at > message.at

    return partial(engine.send_message_again, message_id=message.id), is_dead_again


CALLS = [
    ("start_payment", start),
    ("confirm_payment", confirm),
    ("confirm_payment", confirm_without_funds),
    ("resend_code", resend),
    ("cancel_payment", cancel),
    ("begin_refund", refund),
    ("resolve_payment", resolve),
    ("void_invoice", void),
    ("create_invoice", create_invoice),
    ("send_message_again", send_again),
]


@pytest.mark.parametrize("reply_is_lost", [False, True], ids=["", "reply lost"])
@pytest.mark.parametrize(("script", "prepare"), CALLS, ids=[prepare.__name__ for _, prepare in CALLS])
async def test_a_follow_up_does_not_wait_for_the_caller(
    alice: Setup,
    fake_store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    prepare: Callable[[Setup], Awaitable[tuple[Act, Seen]]],
    *,
    reply_is_lost: bool,
) -> None:
    act, seen = await prepare(alice)
    # The loops woken by the preparation come to rest: without this pause the test would be weaker, not fail.
    await asyncio.sleep(0.1)
    stopped: list[Callable[[], None]] = []
    send = fake_store._partition.send

    def stop(command: Command[Any], lease: Lease | None, on_result: Callable[[Any], None]) -> None:
        if script_of(command) != script or stopped:
            send(command, lease, on_result)
        elif reply_is_lost:
            send(command, lease, lambda _: None)
            stopped.append(partial(on_result, OutcomeUnknown()))
        else:
            stopped.append(partial(send, command, lease, on_result))

    async def is_stopped() -> bool:
        return bool(stopped)

    monkeypatch.setattr(fake_store._partition, "send", stop)
    caller = asyncio.ensure_future(act())
    await wait_for(is_stopped)
    if reply_is_lost:
        stopped[0]()
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    if not reply_is_lost:
        stopped[0]()

    await wait_for(seen, within_s=SOON_S)
