"""Idempotency keys: the same call again gets the first result, another call under the same key is refused."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.store_setup import Setup as AtRest

from technopay.engine import Engine, EngineSettings, IdempotencyKeyReused, InsufficientFunds
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

FAILURES = 1_000
EXPIRES_AT = datetime(2100, 1, 1, tzinfo=UTC)
OPERATIONS = [
    "create_user", "block_user", "unblock_user", "unlock_user", "create_wallet", "deposit", "activate_wallet",
    "deactivate_wallet", "create_invoice", "void_invoice", "start_payment", "resend_code", "cancel_payment",
    "refund_payment", "resolve_payment",
]  # fmt: skip
OTHER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "create_user": {"email": "robert@example.com"},
    "create_wallet": {"currency": "JPY"},
    "deposit": {"amount": 6},
    "create_invoice": {"reference": "twice"},
    "start_payment": {"method": "email"},
    "resolve_payment": {"note": "paid, I think"},
}
"""For the operations with arguments beside the id of a record."""


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings(failures_per_day=FAILURES)


async def prepare(alice: Setup, name: str) -> dict[str, Any]:  # noqa: C901
    """Prepare an operation; return its arguments."""
    engine, user, wallet = alice.engine, {"user_id": "alice"}, {"wallet_id": alice.wallet_id}
    match name:
        case "create_user":
            return {"user_id": "bob", "email": "bob@example.com"}
        case "unblock_user":
            await engine.block_user(user_id="alice")
        case "unlock_user":
            assert isinstance(alice.store, RedisStore)
            await AtRest(alice.store).lock_out("alice", FAILURES)
        case "create_wallet":
            return user | {"currency": "USD"}
        case "deposit":
            return wallet | {"amount": 5}
        case "deactivate_wallet":
            return wallet
        case "activate_wallet":
            await engine.deactivate_wallet(wallet_id=alice.wallet_id)
            return wallet
        case "create_invoice":
            terms = {"amount": 7, "currency": "EUR", "merchant": "shop", "reference": "once"}
            return user | terms | {"expires_at": EXPIRES_AT}
        case "void_invoice":
            return {"invoice_id": (await alice.invoice()).id}
        case "start_payment":
            return user | wallet | {"invoice_id": (await alice.invoice()).id}
        case "resend_code" | "cancel_payment":
            return user | {"payment_id": (await alice.start()).id}
        case "refund_payment":
            return {"payment_id": (await alice.pay()).id}
        case "resolve_payment":
            payment = await alice.start(await alice.invoice(merchant="shop-stuck"))
            assert (await alice.confirm(payment, wait_s=10)).set_aside
            return {"payment_id": payment.id, "outcome": "settled", "note": "paid", "by": "olga"}
    return user


async def state_of(setup: Setup) -> list[Any]:
    """Read every record that an operation could have changed."""
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
async def test_a_call_under_a_used_key_changes_nothing_and_gets_the_same_result_or_a_refusal(
    alice: Setup, name: str
) -> None:
    arguments = await prepare(alice, name) | {"idempotency_key": "a key"}
    operation = getattr(alice.engine, name)
    first = await operation(**arguments)
    state = await state_of(alice)

    again = await operation(**arguments)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.model_dump() == first.model_dump()
    if name in OTHER_ARGUMENTS:
        with pytest.raises(IdempotencyKeyReused):
            await operation(**arguments | OTHER_ARGUMENTS[name])
    assert await state_of(alice) == state


async def test_a_key_belongs_to_one_user(engine: Engine, store: RedisStore) -> None:
    alice, bob = await make_setup(engine, store, "alice"), await make_setup(engine, store, "bob")

    hers = await alice.start(key="a key")
    his = await bob.start(key="a key")

    assert (hers.user_id, his.user_id) == ("alice", "bob")
    assert not his.replayed


async def test_a_key_belongs_to_one_operation_and_one_record(alice: Setup) -> None:
    one, other = await alice.start(), await alice.start()
    resent = await alice.engine.resend_code(user_id="alice", payment_id=one.id, idempotency_key="a key")
    canceled = await alice.engine.cancel_payment(user_id="alice", payment_id=one.id, idempotency_key="a key")
    second = await alice.engine.cancel_payment(user_id="alice", payment_id=other.id, idempotency_key="a key")

    assert not any(answer.replayed for answer in (resent, canceled, second))
    assert second.id == other.id


async def test_calls_at_the_same_time_happen_once_under_one_key_and_each_without_a_key(alice: Setup) -> None:
    deposit, wallet_id = alice.engine.deposit, alice.wallet_id
    keyed = [deposit(wallet_id=wallet_id, amount=5, idempotency_key="a key") for _ in range(10)]
    answers = await asyncio.gather(*keyed, *(deposit(wallet_id=wallet_id, amount=5) for _ in range(2)))

    assert [answer.replayed for answer in answers[:10]].count(False) == 1
    assert not any(answer.replayed for answer in answers[10:])
    assert await alice.balance() == 10_015


async def test_a_refusal_is_not_kept(alice: Setup) -> None:
    invoice = await alice.invoice(10_001)
    with pytest.raises(InsufficientFunds):
        await alice.start(invoice, key="a key")
    await alice.engine.deposit(wallet_id=alice.wallet_id, amount=1)

    payment = await alice.start(invoice, key="a key")

    assert (payment.status, payment.replayed) == ("requires_confirmation", False)


async def test_a_result_of_a_call_that_changed_nothing_is_not_kept(alice: Setup) -> None:
    engine, block = alice.engine, {"user_id": "alice", "idempotency_key": "block-1"}
    await engine.block_user(user_id="alice")
    again = await engine.block_user(**block)
    await engine.unblock_user(user_id="alice")
    anew = await engine.block_user(**block)
    for answer in (again, anew):
        assert (answer.status, answer.replayed) == ("blocked", False)
    assert (await engine.get_user(user_id="alice")).status == "blocked"


async def test_a_key_is_reaped_after_its_time(fake_clock: FakeClock, fake_store: RedisStore) -> None:
    fake_clock.set(datetime.now(UTC))
    settings = quick_settings(idempotency_kept_s=60, agenda_interval_s=0.01)
    async with Engine(fake_store, settings) as engine:
        alice = await make_setup(engine, fake_store)
        arguments = {"wallet_id": alice.wallet_id, "idempotency_key": "a key"}
        await engine.deposit(**arguments, amount=5)
        fake_clock.advance(59_000)
        assert (await engine.deposit(**arguments, amount=5)).replayed
        fake_clock.advance(2_000)

        async def is_free() -> bool:
            try:
                return not (await engine.deposit(**arguments, amount=6)).replayed
            except IdempotencyKeyReused:
                return False

        await wait_for(is_free)
        assert await alice.balance() == 10_011
