"""A purchase through the library: started, confirmed, settled; what each step answers, moves and tells."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support.fixtures.engine_setup import make_setup, other_than, quick_settings

from technopay.engine import (
    ConfirmationInvalid,
    DailyLimitExceeded,
    Engine,
    EngineSettings,
    InsufficientFunds,
    InvoiceNotFound,
    PaymentNotFound,
    UserBlocked,
    WalletInactive,
    WalletNotFound,
)
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


async def test_an_invoice_is_paid_with_the_code_from_the_inbox(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    invoice = await alice.invoice(2_500)

    payment = await alice.start(invoice)
    code = await alice.code_from_inbox(payment)
    paid = await alice.confirm(payment, code)

    assert paid.status == "succeeded"
    assert await alice.balance() == 7_500
    invoice = await engine.get_invoice(user_id="alice", invoice_id=invoice.id)
    assert (invoice.status, invoice.payment_id) == ("paid", payment.id)


async def test_a_started_payment_shows_everything_known_before_the_debit(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    limit = await engine.set_limit(currency="EUR", amount=50_000)
    invoice = await alice.invoice(2_500, "bookshop")

    payment = await alice.start(invoice)

    assert payment.id.startswith("pay_")
    assert payment.confirmation is not None
    assert abs(payment.confirmation.expires_at - payment.created_at) == timedelta(seconds=300)
    assert payment.model_dump(exclude={"id", "created_at"}) == {
        "invoice_id": invoice.id,
        "wallet_id": alice.wallet_id,
        "user_id": "alice",
        "amount": 2_500,
        "currency": "EUR",
        "merchant": "bookshop",
        "status": "requires_confirmation",
        "paid_at": None,
        "settled_at": None,
        "balance_before": None,
        "balance_after": None,
        "confirmation": {
            "method": "email",
            "sent_to": "a***@example.com",
            "expires_at": payment.confirmation.expires_at,
            "attempts_remaining": 5,
            "resends_remaining": 3,
        },
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [
            {
                "rule": "global",
                "window": "day",
                "currency": "EUR",
                "limit": 50_000,
                "used": 0,
                "remaining": 50_000,
                "resets_at": limit.resets_at,
            }
        ],
        "set_aside": False,
    }


async def test_a_succeeded_payment_shows_debit_settlement_and_limit(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    limit = await engine.set_limit(currency="EUR", amount=50_000)
    payment = await alice.start(await alice.invoice(2_500))

    paid = await alice.confirm(payment)

    assert paid.paid_at is not None
    assert paid.settled_at is not None
    assert payment.created_at <= paid.paid_at <= paid.settled_at
    unchanged = {"id", "invoice_id", "wallet_id", "user_id", "amount", "currency", "merchant", "created_at"}
    assert paid.model_dump(include=unchanged) == payment.model_dump(include=unchanged)
    assert paid.model_dump(exclude=unchanged | {"paid_at", "settled_at"}) == {
        "status": "succeeded",
        "balance_before": 10_000,
        "balance_after": 7_500,
        "confirmation": None,
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [
            {
                "rule": "global",
                "window": "day",
                "currency": "EUR",
                "limit": 50_000,
                "used": 2_500,
                "remaining": 47_500,
                "resets_at": limit.resets_at,
            }
        ],
        "set_aside": False,
    }


async def test_starting_deducts_nothing_and_leaves_the_invoice_open(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    invoice = await alice.invoice()

    await alice.start(invoice)

    assert await alice.balance() == 10_000
    assert (await engine.find_invoice(invoice_id=invoice.id)).status == "open"
    entries = await engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)
    assert [entry.kind for entry in entries.data] == ["deposit"]


async def test_a_wrong_code_deducts_nothing(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    payment = await alice.start()

    with pytest.raises(ConfirmationInvalid) as refused:
        await alice.confirm(payment, other_than(await alice.right_code(payment)))

    assert refused.value.attempts_remaining == 4
    assert refused.value.payment is not None
    assert refused.value.payment.status == "requires_confirmation"
    assert await alice.balance() == 10_000


async def test_a_blocked_user_neither_starts_nor_confirms_nor_resends(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    payment = await alice.start()
    invoice = await alice.invoice()
    assert (await engine.block_user(user_id="alice")).status == "blocked"

    with pytest.raises(UserBlocked):
        await alice.start(invoice)
    with pytest.raises(UserBlocked):
        await alice.confirm(payment)
    with pytest.raises(UserBlocked):
        await engine.resend_code(user_id="alice", payment_id=payment.id)

    assert await alice.balance() == 10_000
    assert (await engine.get_payment(user_id="alice", payment_id=payment.id)).id == payment.id
    await engine.unblock_user(user_id="alice")
    assert (await alice.confirm(payment)).status == "succeeded"


async def test_a_blocked_user_may_still_cancel_and_hear_an_answer_again(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    paid = await alice.pay()
    payment = await alice.start()
    await engine.block_user(user_id="alice")

    assert (await engine.cancel_payment(user_id="alice", payment_id=payment.id)).status == "canceled"
    replayed = await alice.confirm(paid)
    assert (replayed.status, replayed.replayed) == ("succeeded", True)


async def test_an_inactive_wallet_pays_nothing_but_takes_deposits(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    payment = await alice.start()
    invoice = await alice.invoice()
    assert (await engine.deactivate_wallet(wallet_id=alice.wallet_id)).status == "inactive"

    with pytest.raises(WalletInactive):
        await alice.start(invoice)
    with pytest.raises(WalletInactive):
        await alice.confirm(payment)
    with pytest.raises(WalletInactive):
        await engine.resend_code(user_id="alice", payment_id=payment.id)

    assert (await engine.deposit(wallet_id=alice.wallet_id, amount=1)).balance == 10_001
    assert (await engine.activate_wallet(wallet_id=alice.wallet_id)).status == "active"
    assert (await alice.confirm(payment)).status == "succeeded"


async def test_what_is_somebody_elses_does_not_exist(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store, "alice")
    bob = await make_setup(engine, store, "bob")
    payment = await alice.start()
    invoice = await alice.invoice()
    code = await alice.right_code(payment)

    with pytest.raises(InvoiceNotFound):
        await bob.start(invoice)
    with pytest.raises(WalletNotFound):
        await engine.start_payment(
            user_id="bob", invoice_id=(await bob.invoice()).id, wallet_id=alice.wallet_id
        )
    with pytest.raises(PaymentNotFound):
        await bob.confirm(payment, code)
    with pytest.raises(PaymentNotFound):
        await engine.resend_code(user_id="bob", payment_id=payment.id)
    with pytest.raises(PaymentNotFound):
        await engine.cancel_payment(user_id="bob", payment_id=payment.id)
    with pytest.raises(PaymentNotFound):
        await engine.get_payment(user_id="bob", payment_id=payment.id)
    with pytest.raises(WalletNotFound):
        await engine.get_wallet(user_id="bob", wallet_id=alice.wallet_id)
    with pytest.raises(WalletNotFound):
        await engine.list_entries(user_id="bob", wallet_id=alice.wallet_id)
    with pytest.raises(InvoiceNotFound):
        await engine.get_invoice(user_id="bob", invoice_id=invoice.id)

    assert (await alice.payment(payment)).status == "requires_confirmation"
    assert (await alice.confirm(payment, code)).status == "succeeded"


async def test_too_small_a_balance_refuses_the_start_and_changes_nothing(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store, balance=2_499)
    invoice = await alice.invoice(2_500)

    with pytest.raises(InsufficientFunds) as refused:
        await alice.start(invoice)

    assert (refused.value.required, refused.value.available) == (2_500, 2_499)
    assert (await engine.list_payments(user_id="alice")).data == []
    assert await alice.balance() == 2_499


async def test_money_gone_between_start_and_confirm_refuses_the_confirm_and_changes_nothing(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store, balance=3_000)
    invoice = await alice.invoice(2_500)
    payment = await alice.start(invoice)
    await alice.pay(await alice.invoice(1_000))
    before = await alice.payment(payment)

    with pytest.raises(InsufficientFunds) as refused:
        await alice.confirm(payment)

    assert (refused.value.required, refused.value.available) == (2_500, 2_000)
    assert await alice.payment(payment) == before
    assert await alice.balance() == 2_000
    assert (await engine.find_invoice(invoice_id=invoice.id)).status == "open"


async def test_the_balance_is_spent_to_the_last_cent(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store, balance=2_500)

    paid = await alice.pay(await alice.invoice(2_500))

    assert (paid.status, paid.balance_after) == ("succeeded", 0)


async def test_the_daily_limit_is_shared_by_all_users(engine: Engine, store: RedisStore) -> None:
    await engine.set_limit(currency="EUR", amount=6_000)
    alice = await make_setup(engine, store, "alice")
    bob = await make_setup(engine, store, "bob")
    await alice.pay(await alice.invoice(2_500))
    early = await bob.start(await bob.invoice(2_500))
    await alice.pay(await alice.invoice(2_500))

    with pytest.raises(DailyLimitExceeded) as at_confirm:
        await bob.confirm(early)
    with pytest.raises(DailyLimitExceeded) as at_start:
        await bob.start(await bob.invoice(1_001))

    for refused in (at_confirm.value, at_start.value):
        assert refused.limit is not None
        assert (refused.limit.used, refused.limit.remaining) == (5_000, 1_000)
    assert await bob.balance() == 10_000
    assert (await bob.pay(await bob.invoice(1_000))).status == "succeeded"
    (limit,) = await engine.list_all_limits()
    assert (limit.used, limit.remaining) == (6_000, 0)


async def test_payments_at_the_same_time_never_pass_the_limit(engine: Engine, store: RedisStore) -> None:
    await engine.set_limit(currency="EUR", amount=5_000)
    setups = [await make_setup(engine, store, f"user{number}") for number in range(5)]
    payments = [await setup.start(await setup.invoice(2_000)) for setup in setups]

    outcomes = await asyncio.gather(
        *(setup.confirm(payment) for setup, payment in zip(setups, payments, strict=True)),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, DailyLimitExceeded) for outcome in outcomes) == 3
    assert sum([await setup.balance() for setup in setups]) == 46_000
    (limit,) = await engine.list_all_limits()
    assert limit.used == 4_000


async def test_a_limit_of_zero_stops_all_payments_and_a_lifted_one_none(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    assert (await engine.set_limit(currency="EUR", amount=0)).limit == 0
    invoice = await alice.invoice(1)
    with pytest.raises(DailyLimitExceeded):
        await alice.start(invoice)

    lifted = await engine.set_limit(currency="EUR", amount=None)

    assert (lifted.limit, lifted.remaining) == (None, None)
    paid = await alice.pay(invoice)
    assert (paid.status, paid.limits) == ("succeeded", [])


async def test_another_currencys_limit_does_not_matter(engine: Engine, store: RedisStore) -> None:
    await engine.set_limit(currency="USD", amount=0)
    alice = await make_setup(engine, store)

    assert (await alice.pay()).status == "succeeded"
    assert await engine.list_limits(user_id="alice") == []


async def test_paid_at_is_the_instant_of_the_debit_everywhere(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    paid = await alice.pay()

    entry = (await engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)).data[0]
    assert (entry.kind, entry.payment_id) == ("payment", paid.id)
    assert paid.paid_at == entry.at == (await engine.find_invoice(invoice_id=paid.invoice_id)).paid_at
    assert paid.paid_at is not None
    assert before <= paid.paid_at <= datetime.now(UTC)


async def test_a_purchase_tells_the_user_the_code_and_the_success(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    paid = await alice.pay(await alice.invoice(1_234, "bookshop"))

    told = (await alice.message("payment.succeeded")).message

    assert (told.payment_id, told.to, told.channel) == (paid.id, "alice@example.com", "email")
    assert told.text == "You paid 12.34 EUR to bookshop."
    assert told.code is None


async def test_confirms_at_the_same_time_never_take_more_than_the_wallet_holds(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store, balance=5_000)
    payments = [await alice.start(await alice.invoice(2_000)) for _ in range(4)]

    outcomes = await asyncio.gather(*(alice.confirm(payment) for payment in payments), return_exceptions=True)

    assert sum(isinstance(outcome, InsufficientFunds) for outcome in outcomes) == 2
    assert await alice.balance() == 1_000
