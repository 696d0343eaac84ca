"""The second step: attempts, what burns a code and what does not, resends, and a confirm given again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.fixtures.engine_setup import Setup, make_setup, other_than, quick_settings

from technopay.engine import (
    ConfirmationExpired,
    ConfirmationInvalid,
    DailyLimitExceeded,
    Engine,
    EngineSettings,
    InsufficientFunds,
    NoChannel,
    Payment,
    PaymentNotConfirmable,
    RateLimited,
    SettlementFailed,
    UserBlocked,
)
from technopay.storage import RedisStore


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


@pytest.fixture
async def alice(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)


async def resend(setup: Setup, payment: Payment, *, key: str | None = None) -> Payment:
    return await setup.engine.resend_code(user_id=setup.user_id, payment_id=payment.id, idempotency_key=key)


def attempts_of(payment: Payment) -> int:
    assert payment.confirmation is not None
    return payment.confirmation.attempts_remaining


async def test_the_right_code_after_five_wrong_ones_confirms_nothing(alice: Setup) -> None:
    payment = await alice.start()
    for _ in range(5):
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(payment, "000")

    with pytest.raises(PaymentNotConfirmable) as refused:
        await alice.confirm(payment)

    assert refused.value.payment is not None
    assert refused.value.payment.status == "failed"
    assert await alice.balance() == 10_000


async def test_the_right_code_still_confirms_after_four_wrong_ones(alice: Setup) -> None:
    payment = await alice.start()
    for _ in range(4):
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(payment, "000")

    assert (await alice.confirm(payment)).status == "succeeded"


async def test_five_wrong_codes_at_the_same_time_are_five_attempts(alice: Setup) -> None:
    payment = await alice.start()

    outcomes = await asyncio.gather(*(alice.confirm(payment, "000") for _ in range(8)), return_exceptions=True)

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(ConfirmationInvalid) == 5
    assert kinds.count(PaymentNotConfirmable) == 3


@pytest.mark.parametrize("code", ["1", "x" * 64, "      ", "０００００００", "0" * 63 + "\n", "a|b", "\ud800"])
async def test_any_string_that_does_not_match_costs_an_attempt(alice: Setup, code: str) -> None:
    payment = await alice.start()

    with pytest.raises(ConfirmationInvalid) as refused:
        await alice.confirm(payment, code)

    assert refused.value.attempts_remaining == 4


async def test_a_right_code_refused_for_funds_burns_nothing_and_confirms_after_a_deposit(alice: Setup) -> None:
    payment = await alice.start(await alice.invoice(9_000))
    await alice.pay(await alice.invoice(2_000))
    for _ in range(6):
        with pytest.raises(InsufficientFunds):
            await alice.confirm(payment)
    assert attempts_of(await alice.payment(payment)) == 5

    await alice.engine.deposit(wallet_id=alice.wallet_id, amount=1_000)

    assert (await alice.confirm(payment)).status == "succeeded"
    assert await alice.balance() == 0


async def test_a_right_code_refused_for_the_limit_burns_nothing_and_confirms_after_it_is_raised(
    alice: Setup,
) -> None:
    payment = await alice.start()
    await alice.engine.set_limit(currency="EUR", amount=2_499)
    for _ in range(6):
        with pytest.raises(DailyLimitExceeded):
            await alice.confirm(payment)
    assert attempts_of(await alice.payment(payment)) == 5

    await alice.engine.set_limit(currency="EUR", amount=2_500)

    assert (await alice.confirm(payment)).status == "succeeded"


async def test_a_refusal_for_blocked_user_costs_no_attempt(alice: Setup) -> None:
    payment = await alice.start()
    await alice.engine.block_user(user_id="alice")
    with pytest.raises(UserBlocked):
        await alice.confirm(payment, "wrong")

    assert attempts_of(await alice.payment(payment)) == 5


async def test_wrong_codes_count_across_resends(alice: Setup) -> None:
    payment = await alice.start()
    for _ in range(3):
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(payment, "000")

    assert attempts_of(await resend(alice, payment)) == 2
    for remaining in (1, 0):
        with pytest.raises(ConfirmationInvalid) as refused:
            await alice.confirm(payment, "000")
        assert refused.value.attempts_remaining == remaining

    assert (await alice.payment(payment)).status == "failed"


async def test_a_resend_brings_a_fresh_code_and_a_fresh_expiry_and_kills_the_old_code(alice: Setup) -> None:
    payment = await alice.start()
    old = await alice.code_from_inbox(payment)
    await asyncio.sleep(0.002)  # the store's clock counts milliseconds

    resent = await resend(alice, payment)
    fresh = await alice.code_from_inbox(payment, nth=2)

    assert payment.confirmation is not None
    assert resent.confirmation is not None
    assert resent.confirmation.expires_at > payment.confirmation.expires_at
    assert resent.confirmation.resends_remaining == 2
    assert fresh != old
    with pytest.raises(ConfirmationInvalid):
        await alice.confirm(payment, old)
    assert (await alice.confirm(payment, fresh)).status == "succeeded"


async def test_a_fourth_resend_is_refused_until_the_code_expires(alice: Setup) -> None:
    payment = await alice.start()
    for remaining in (2, 1, 0):
        resent = await resend(alice, payment)
        assert resent.confirmation is not None
        assert resent.confirmation.resends_remaining == remaining

    with pytest.raises(RateLimited) as refused:
        await resend(alice, payment)

    assert refused.value.retry_after_s is not None
    assert 290 < refused.value.retry_after_s <= 300
    assert (await alice.confirm(payment, await alice.right_code(payment, issue=4))).status == "succeeded"


async def test_resends_at_the_same_time_are_three_at_most(alice: Setup) -> None:
    payment = await alice.start()

    outcomes = await asyncio.gather(*(resend(alice, payment) for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, Payment) for outcome in outcomes) == 3


async def test_the_accepted_code_is_answered_again_with_the_current_state(alice: Setup) -> None:
    payment = await alice.start()
    first = await alice.confirm(payment)

    again = await alice.confirm(payment)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.model_dump() == first.model_dump()
    assert await alice.balance() == 7_500


async def test_another_code_after_the_accepted_one_is_not_confirmable_and_shows_the_payment(
    alice: Setup,
) -> None:
    payment = await alice.start()
    code = await alice.right_code(payment)
    await alice.confirm(payment, code)

    with pytest.raises(PaymentNotConfirmable) as refused:
        await alice.confirm(payment, other_than(code))

    assert refused.value.payment is not None
    assert refused.value.payment.status == "succeeded"


async def test_a_refunded_debit_answers_the_accepted_code_again_with_settlement_failed(alice: Setup) -> None:
    payment = await alice.start(await alice.invoice(merchant="shop-declines"))
    with pytest.raises(SettlementFailed) as first:
        await alice.confirm(payment)

    with pytest.raises(SettlementFailed) as again:
        await alice.confirm(payment)

    assert (first.value.replayed, again.value.replayed) == (False, True)
    assert first.value.payment is not None
    assert again.value.payment is not None
    assert again.value.payment.model_dump() == first.value.payment.model_dump()
    assert await alice.balance() == 10_000


async def test_the_code_of_a_payment_refunded_by_an_operator_is_not_confirmable(alice: Setup) -> None:
    payment = await alice.pay()
    await alice.engine.refund_payment(payment_id=payment.id)

    with pytest.raises(PaymentNotConfirmable):
        await alice.confirm(payment)


async def test_the_same_confirm_many_times_at_once_takes_the_money_once(alice: Setup) -> None:
    payment = await alice.start()
    code = await alice.code_from_inbox(payment)

    answers = await asyncio.gather(*(alice.confirm(payment, code) for _ in range(6)))

    assert {answer.status for answer in answers} == {"succeeded"}
    assert [answer.replayed for answer in answers].count(False) == 1
    assert await alice.balance() == 7_500


@pytest.fixture
async def hasty(store: RedisStore) -> AsyncIterator[Setup]:
    """Somebody whose codes have expired when they arrive, and whose agenda comes much later."""
    async with Engine(store, quick_settings(code_lifetime_s=0, agenda_interval_s=3_600)) as engine:
        yield await make_setup(engine, store, "hasty")


async def test_an_expired_code_confirms_nothing_before_anybody_noticed(hasty: Setup) -> None:
    payment = await hasty.start()

    assert payment.status == "expired"
    with pytest.raises(ConfirmationExpired):
        await hasty.confirm(payment)
    assert await hasty.balance() == 10_000


async def test_codes_go_to_the_phone_when_that_is_asked_for_or_all_there_is(
    engine: Engine, store: RedisStore
) -> None:
    both = await make_setup(engine, store, "both", email="both@example.com", phone="+15550100")
    phone = await make_setup(engine, store, "phone", email=None, phone="+4915550199")
    invoice = await both.invoice()

    asked = await engine.start_payment(
        user_id="both", invoice_id=invoice.id, wallet_id=both.wallet_id, method="sms"
    )
    only = await phone.start()
    default = await both.start()

    for payment, method, masked in (
        (asked, "sms", "+1•••0100"),
        (only, "sms", "+4•••0199"),
        (default, "email", "b***@example.com"),
    ):
        assert payment.confirmation is not None
        assert (payment.confirmation.method, payment.confirmation.sent_to) == (method, masked)
    told = (await both.message("confirmation.code")).message
    assert (told.channel, told.to) == ("sms", "+15550100")


async def test_a_user_without_any_address_gets_no_code_and_starts_nothing(
    engine: Engine, store: RedisStore
) -> None:
    nobody = await make_setup(engine, store, "nobody", email=None)

    with pytest.raises(NoChannel):
        await nobody.start()


async def test_the_code_names_amount_and_payee_in_its_message(alice: Setup) -> None:
    payment = await alice.start(await alice.invoice(1_234, "bookshop"))

    told = (await alice.message("confirmation.code")).message

    assert told.text == f"{told.code} is your code to pay 12.34 EUR to bookshop. Give it to nobody."
    assert told.code == await alice.right_code(payment)
