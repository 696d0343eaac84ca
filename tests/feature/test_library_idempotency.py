"""Idempotency keys: the same call again gets the first answer, another call under the same key is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.store_setup import Setup as AtRest

from technopay.engine import (
    Engine,
    EngineSettings,
    IdempotencyKeyReused,
    InsufficientFunds,
    MockChannel,
    PaymentNotCancelable,
    RecordingChannel,
)
from technopay.storage import RedisStore

FAILURES = 1_000
EXPIRES_AT = datetime(2100, 1, 1, tzinfo=UTC)

Prepare = Callable[[Setup], Awaitable[dict[str, Any]]]


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings(failures_per_day=FAILURES)


@pytest.fixture
async def alice(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)


async def new_user(setup: Setup) -> dict[str, Any]:
    return {"user_id": "bob", "email": "bob@example.com"}


async def the_user(setup: Setup) -> dict[str, Any]:
    return {"user_id": "alice"}


async def new_wallet(setup: Setup) -> dict[str, Any]:
    return {"user_id": "alice", "currency": "USD"}


async def the_wallet(setup: Setup) -> dict[str, Any]:
    return {"wallet_id": setup.wallet_id}


async def a_blocked_user(setup: Setup) -> dict[str, Any]:
    await setup.engine.block_user(user_id="alice")
    return {"user_id": "alice"}


async def a_locked_out_user(setup: Setup) -> dict[str, Any]:
    user = await setup.engine.create_user(user_id="locked-out")
    assert isinstance(setup.store, RedisStore)
    await AtRest(setup.store).lock_out(user.id, FAILURES)
    return {"user_id": user.id}


async def an_inactive_wallet(setup: Setup) -> dict[str, Any]:
    await setup.engine.deactivate_wallet(wallet_id=setup.wallet_id)
    return {"wallet_id": setup.wallet_id}


async def some_money(setup: Setup) -> dict[str, Any]:
    return {"wallet_id": setup.wallet_id, "amount": 5}


async def new_invoice(setup: Setup) -> dict[str, Any]:
    return {
        "user_id": "alice",
        "amount": 7,
        "currency": "EUR",
        "merchant": "shop",
        "reference": "once",
        "expires_at": EXPIRES_AT,
    }


async def the_invoice(setup: Setup) -> dict[str, Any]:
    return {"invoice_id": (await setup.invoice()).id}


async def to_start(setup: Setup) -> dict[str, Any]:
    return {"user_id": "alice", "invoice_id": (await setup.invoice()).id, "wallet_id": setup.wallet_id}


async def a_started_payment(setup: Setup) -> dict[str, Any]:
    return {"user_id": "alice", "payment_id": (await setup.start()).id}


async def a_paid_payment(setup: Setup) -> dict[str, Any]:
    return {"payment_id": (await setup.pay()).id}


async def a_payment_set_aside(setup: Setup) -> dict[str, Any]:
    payment = await setup.confirm(await setup.start(await setup.invoice(merchant="shop-stuck")), wait_s=10)
    assert payment.set_aside
    return {"payment_id": payment.id, "outcome": "settled", "note": "paid", "by": "olga"}


OPERATIONS: dict[str, Prepare] = {
    "create_user": new_user,
    "block_user": the_user,
    "unblock_user": a_blocked_user,
    "unlock_user": a_locked_out_user,
    "create_wallet": new_wallet,
    "deposit": some_money,
    "activate_wallet": an_inactive_wallet,
    "deactivate_wallet": the_wallet,
    "create_invoice": new_invoice,
    "void_invoice": the_invoice,
    "start_payment": to_start,
    "resend_code": a_started_payment,
    "cancel_payment": a_started_payment,
    "refund_payment": a_paid_payment,
    "resolve_payment": a_payment_set_aside,
}
OTHER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "create_user": {"email": "robert@example.com"},
    "create_wallet": {"currency": "JPY"},
    "deposit": {"amount": 6},
    "create_invoice": {"reference": "twice"},
    "start_payment": {"method": "email"},
    "resolve_payment": {"note": "paid, I think"},
}
"""For the operations that have arguments beside what they are about."""


async def state_of(setup: Setup) -> list[Any]:
    """Read everything that an operation could have changed."""
    engine = setup.engine
    return [
        await setup.balance(),
        await engine.get_user(user_id="alice"),
        await engine.list_wallets(user_id="alice"),
        await engine.list_invoices(user_id="alice"),
        await engine.list_payments(user_id="alice"),
        await engine.list_entries(user_id="alice", wallet_id=setup.wallet_id),
    ]


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_same_call_under_the_same_key_gets_the_same_answer_and_does_nothing(
    alice: Setup, name: str
) -> None:
    arguments = await OPERATIONS[name](alice)
    operation = getattr(alice.engine, name)
    first = await operation(**arguments, idempotency_key="a key")
    state = await state_of(alice)

    again = await operation(**arguments, idempotency_key="a key")

    assert (first.replayed, again.replayed) == (False, True)
    assert again.model_dump() == first.model_dump()
    assert await state_of(alice) == state


@pytest.mark.parametrize("name", OTHER_ARGUMENTS)
async def test_other_arguments_under_the_same_key_are_refused_and_do_nothing(alice: Setup, name: str) -> None:
    arguments = await OPERATIONS[name](alice)
    operation = getattr(alice.engine, name)
    await operation(**arguments, idempotency_key="a key")
    state = await state_of(alice)

    with pytest.raises(IdempotencyKeyReused):
        await operation(**arguments | OTHER_ARGUMENTS[name], idempotency_key="a key")

    assert await state_of(alice) == state


async def test_a_key_belongs_to_one_user(engine: Engine, store: RedisStore) -> None:
    alice, bob = await make_setup(engine, store, "alice"), await make_setup(engine, store, "bob")

    hers = await alice.start(key="a key")
    his = await bob.start(key="a key")

    assert (hers.user_id, his.user_id) == ("alice", "bob")
    assert not his.replayed


async def test_a_key_belongs_to_one_operation_and_one_thing(alice: Setup) -> None:
    one, other = await alice.start(), await alice.start()
    resent = await alice.engine.resend_code(user_id="alice", payment_id=one.id, idempotency_key="a key")
    canceled = await alice.engine.cancel_payment(user_id="alice", payment_id=one.id, idempotency_key="a key")
    second = await alice.engine.cancel_payment(user_id="alice", payment_id=other.id, idempotency_key="a key")

    assert not any(answer.replayed for answer in (resent, canceled, second))
    assert second.id == other.id


async def test_without_a_key_every_call_is_a_new_one(alice: Setup) -> None:
    for _ in range(2):
        await alice.engine.deposit(wallet_id=alice.wallet_id, amount=5)

    assert await alice.balance() == 10_010


async def test_calls_under_one_key_at_the_same_time_happen_once(alice: Setup) -> None:
    answers = await asyncio.gather(
        *(alice.engine.deposit(wallet_id=alice.wallet_id, amount=5, idempotency_key="a key") for _ in range(10))
    )

    assert [answer.replayed for answer in answers].count(False) == 1
    assert await alice.balance() == 10_005


async def test_a_refusal_is_not_kept(alice: Setup) -> None:
    invoice = await alice.invoice(10_001)
    with pytest.raises(InsufficientFunds):
        await alice.start(invoice, key="a key")
    await alice.engine.deposit(wallet_id=alice.wallet_id, amount=1)

    payment = await alice.start(invoice, key="a key")

    assert (payment.status, payment.replayed) == ("requires_confirmation", False)


async def test_a_replay_is_the_first_answer_even_when_more_has_happened_since(alice: Setup) -> None:
    invoice = await alice.invoice()
    started = await alice.start(invoice, key="a key")
    await alice.confirm(started)

    again = await alice.start(invoice, key="a key")

    assert again.model_dump() == started.model_dump()
    assert (await alice.payment(started)).status == "succeeded"


async def test_a_cancel_without_a_key_given_again_is_refused(alice: Setup) -> None:
    payment = await alice.start()
    await alice.engine.cancel_payment(user_id="alice", payment_id=payment.id)

    with pytest.raises(PaymentNotCancelable):
        await alice.engine.cancel_payment(user_id="alice", payment_id=payment.id)


async def test_a_dead_message_is_sent_again_once_under_one_key(store: RedisStore) -> None:
    channel = RecordingChannel()
    channel.error = ConnectionError("down")
    settings = quick_settings(message_attempts=2)
    channels = {"email": channel, "sms": MockChannel(store)}
    async with Engine(store, settings, channels=channels) as engine:  # type: ignore[arg-type]
        alice = await make_setup(engine, store)
        await alice.start()

        async def dead() -> Any:
            return (await engine.list_messages(status="dead")).data

        (message,) = await wait_for(dead)
        channel.error = None
        first = await engine.send_message_again(message_id=message.id, idempotency_key="a key")
        again = await engine.send_message_again(message_id=message.id, idempotency_key="a key")

        assert (first.status, first.replayed) == ("waiting", False)
        assert again.model_dump() == first.model_dump()
        assert again.replayed


async def test_a_key_is_forgotten_after_it_was_kept(fake_clock: FakeClock, fake_store: RedisStore) -> None:
    fake_clock.set(datetime.now(UTC))
    settings = quick_settings(idempotency_kept_s=60, agenda_interval_s=0.01)
    async with Engine(fake_store, settings) as engine:
        alice = await make_setup(engine, fake_store)
        arguments = {"wallet_id": alice.wallet_id, "idempotency_key": "a key"}
        await engine.deposit(**arguments, amount=5)
        fake_clock.advance(59_000)
        assert (await engine.deposit(**arguments, amount=5)).replayed
        fake_clock.advance(2_000)

        async def taken_anew() -> bool:
            try:
                return not (await engine.deposit(**arguments, amount=6)).replayed
            except IdempotencyKeyReused:
                return False

        assert await wait_for(taken_anew)
        assert await alice.balance() == 10_011


async def test_an_answer_that_changed_nothing_is_not_kept(alice: Setup) -> None:
    engine, user_id = alice.engine, alice.user_id
    await engine.block_user(user_id=user_id)
    again = await engine.block_user(user_id=user_id, idempotency_key="block-1")
    assert (again.status, again.replayed) == ("blocked", False)
    await engine.unblock_user(user_id=user_id)
    anew = await engine.block_user(user_id=user_id, idempotency_key="block-1")
    assert (anew.status, anew.replayed) == ("blocked", False)
    assert (await engine.get_user(user_id=user_id)).status == "blocked"
