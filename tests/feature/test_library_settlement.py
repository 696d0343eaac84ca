"""How a debit ends: settled, or given back on a clear no, or set aside; never given back on silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.store_commands import mock_settlement, renew_claims

from technopay.engine import (
    SILENCE,
    Engine,
    EngineSettings,
    Payment,
    PaymentNotRefundable,
    PaymentNotResolvable,
    ScriptedSettlementService,
    SettlementFailed,
)
from technopay.storage import RedisStore


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


@pytest.fixture
async def alice(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)


async def set_aside_payment(alice: Setup, merchant: str = "shop-stuck") -> Payment:
    payment = await alice.start(await alice.invoice(2_500, merchant))
    shown = await alice.confirm(payment, wait_s=10)
    assert (shown.status, shown.set_aside) == ("processing", True)
    return shown


@pytest.mark.parametrize("merchant", ["shop-declines", "shop-errors"])
async def test_a_debit_that_is_not_settled_is_given_back(alice: Setup, merchant: str) -> None:
    await alice.engine.set_limit(currency="EUR", amount=5_000)
    invoice = await alice.invoice(2_500, merchant)
    payment = await alice.start(invoice)

    with pytest.raises(SettlementFailed) as refused:
        await alice.confirm(payment)

    failed = refused.value.payment
    assert failed is not None
    assert failed.status == "failed"
    assert failed.failure is not None
    assert failed.failure.code == "settlement_failed"
    assert failed.refunded_amount == 2_500
    (refund,) = failed.refunds
    assert (refund.amount, refund.reason) == (2_500, "settlement_failed")
    assert failed.paid_at is not None
    assert failed.paid_at <= refund.at
    assert (failed.balance_before, failed.balance_after, failed.settled_at) == (10_000, 7_500, None)
    assert await alice.balance() == 10_000
    shown = await alice.engine.find_invoice(invoice_id=invoice.id)
    assert (shown.status, shown.paid_at, shown.payment_id, shown.refunded_amount) == ("open", None, None, 0)
    (limit,) = await alice.engine.list_limits(user_id="alice")
    assert limit.used == 0, "the share of the limit comes back, too"


async def test_what_was_given_back_can_be_paid_again(alice: Setup) -> None:
    invoice = await alice.invoice(2_500, "shop-declines")
    for _ in range(2):
        with pytest.raises(SettlementFailed):
            await alice.pay(invoice)

    entries = await alice.engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)
    assert [entry.amount for entry in entries.data] == [2_500, -2_500, 2_500, -2_500, 10_000]


async def test_money_comes_back_to_a_blocked_user_with_an_inactive_wallet(
    store: RedisStore, settings: EngineSettings
) -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(_: object) -> str:
        return await answer

    service = ScriptedSettlementService(settle=[wait])
    async with Engine(store, quick_settings(settlement_timeout_s=5), settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.confirm(await alice.start(), wait_s=0)
        await engine.block_user(user_id="alice")
        await engine.deactivate_wallet(wallet_id=alice.wallet_id)
        answer.set_result("declined")

        ended = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=5)

        assert ended.status == "failed"
        assert await alice.balance() == 10_000


@pytest.mark.parametrize("merchant", ["shop", "shop-flaky", "shop-lost", "slow", "declines"])
async def test_a_debit_that_is_settled_in_the_end_succeeds(alice: Setup, merchant: str) -> None:
    paid = await alice.pay(await alice.invoice(2_500, merchant))

    assert paid.status == "succeeded"
    assert await alice.balance() == 7_500


async def test_a_slow_settlement_outlasts_the_wait_and_then_succeeds(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.engine.testing.mocks.SLOW_S", 0.3)
    async with Engine(store, quick_settings(settlement_timeout_s=5)) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.start(await alice.invoice(merchant="shop-slow"))

        early = await alice.confirm(payment, wait_s=0.01)
        late = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=10)

    assert (early.status, late.status) == ("processing", "succeeded")


async def test_a_settlement_that_is_never_answered_is_called_off_before_money_comes_back(
    alice: Setup,
) -> None:
    payment = await alice.start(await alice.invoice(merchant="shop-timeout"))

    with pytest.raises(SettlementFailed):
        await alice.confirm(payment)

    assert await mock_settlement(alice.store, "status", payment.id, 0) == "called_off"
    assert await mock_settlement(alice.store, "settle", payment.id, 0) == "called_off", "a late request is void"


async def test_a_silent_settlement_is_set_aside_and_nothing_is_given_back(alice: Setup) -> None:
    payment = await set_aside_payment(alice)

    assert await alice.balance() == 7_500
    found = await alice.engine.search_payments(set_aside=True)
    assert [each.id for each in found.data] == [payment.id]
    assert (await alice.engine.find_invoice(invoice_id=payment.invoice_id)).status == "processing"


async def test_a_payment_set_aside_is_asked_about_again_and_ends_by_itself(store: RedisStore) -> None:
    service = ScriptedSettlementService(settle=[SILENCE], status=[SILENCE])
    settings = quick_settings(settlement_timeout_s=0.02, settlement_silence_s=0.05, set_aside_interval_s=0.05)
    async with Engine(store, settings, settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        payment = await set_aside_payment(alice)
        service._answers["settle"] = ["settled"]

        async def ended() -> Payment | None:
            now = await alice.payment(payment)
            return now if now.status == "succeeded" else None

        last = await wait_for(ended)

    assert last is not None
    assert not last.set_aside


@pytest.mark.parametrize(
    ("outcome", "status", "balance", "invoice_status"),
    [("settled", "succeeded", 7_500, "paid"), ("refund", "failed", 10_000, "open")],
)
async def test_an_operator_decides_what_was_set_aside(
    alice: Setup, outcome: Any, status: str, balance: int, invoice_status: str
) -> None:
    payment = await set_aside_payment(alice)

    resolved = await alice.engine.resolve_payment(
        payment_id=payment.id,
        outcome=outcome,
        note="asked the bank",
        by="olga",
    )

    assert (resolved.status, resolved.set_aside) == (status, False)
    assert resolved.resolution is not None
    assert (resolved.resolution.outcome, resolved.resolution.note) == (outcome, "asked the bank")
    assert resolved.resolution.by == "olga"
    assert await alice.balance() == balance
    assert (await alice.engine.find_invoice(invoice_id=payment.invoice_id)).status == invoice_status
    assert (await alice.engine.search_payments(set_aside=True)).data == []
    with pytest.raises(PaymentNotResolvable) as refused:
        await alice.engine.resolve_payment(payment_id=payment.id, outcome="settled", note="again", by="olga")
    assert refused.value.payment == resolved


async def test_only_a_payment_that_was_set_aside_can_be_resolved(alice: Setup) -> None:
    payment = await alice.pay()

    with pytest.raises(PaymentNotResolvable):
        await alice.engine.resolve_payment(payment_id=payment.id, outcome="refund", note="why not", by="olga")

    assert await alice.balance() == 7_500


async def test_an_operator_refunds_a_payment_and_its_invoice_stays_paid(alice: Setup) -> None:
    await alice.engine.set_limit(currency="EUR", amount=5_000)
    invoice = await alice.invoice(2_500)
    paid = await alice.pay(invoice)

    refunded = await alice.engine.refund_payment(payment_id=paid.id)

    assert refunded.status == "refunded"
    assert (refunded.refunded_amount, refunded.paid_at) == (2_500, paid.paid_at)
    (refund,) = refunded.refunds
    assert (refund.amount, refund.reason) == (2_500, "requested_by_operator")
    assert await alice.balance() == 10_000
    shown = await alice.engine.find_invoice(invoice_id=invoice.id)
    assert (shown.status, shown.refunded_amount, shown.payment_id) == ("paid", 2_500, paid.id)
    (limit,) = await alice.engine.list_limits(user_id="alice")
    assert limit.used == 2_500, "the limit is not given back"
    assert await mock_settlement(alice.store, "status", paid.id, 0) == "reversed"


async def test_a_refund_is_credited_once_however_often_it_is_asked_for(alice: Setup) -> None:
    paid = await alice.pay()

    answers = await asyncio.gather(*(alice.engine.refund_payment(payment_id=paid.id) for _ in range(5)))

    assert {answer.status for answer in answers} == {"refunded"}
    assert await alice.balance() == 10_000


async def test_a_refund_needs_a_payment_that_succeeded(alice: Setup) -> None:
    payment = await alice.start()

    with pytest.raises(PaymentNotRefundable):
        await alice.engine.refund_payment(payment_id=payment.id)


async def test_a_refund_goes_on_until_the_settlement_service_answers(store: RedisStore) -> None:
    service = ScriptedSettlementService(
        settle=["settled"], reverse=[ConnectionError("down"), SILENCE, ConnectionError("down"), "reversed"]
    )
    async with Engine(store, quick_settings(), settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        paid = await alice.pay()

        refunded = await engine.refund_payment(payment_id=paid.id)

    assert refunded.status == "refunded"
    assert service.calls.count("reverse") == 4


@pytest.mark.parametrize(
    ("outcome", "status", "balance"), [("settled", "succeeded", 7_500), ("refund", "refunded", 10_000)]
)
async def test_an_operator_decides_a_refund_that_was_set_aside(
    store: RedisStore, outcome: Any, status: str, balance: int
) -> None:
    service = ScriptedSettlementService(settle=["settled"], reverse=[SILENCE])
    async with Engine(store, quick_settings(), settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        paid = await alice.pay()
        shown = await engine.refund_payment(payment_id=paid.id)
        assert (shown.status, shown.set_aside) == ("refunding", True)

        resolved = await engine.resolve_payment(payment_id=paid.id, outcome=outcome, note="n", by="olga")

        assert (resolved.status, resolved.set_aside) == (status, False)
        assert await alice.balance() == balance
        assert (await engine.find_invoice(invoice_id=paid.invoice_id)).status == "paid"


async def test_get_payment_waits_until_the_payment_is_at_rest(store: RedisStore) -> None:
    async with Engine(store, quick_settings()) as paying, Engine(store, quick_settings()) as looking:
        alice = await make_setup(paying, store)
        payment = await alice.start()
        looked = asyncio.create_task(looking.get_payment(user_id="alice", payment_id=payment.id, wait_s=10))
        await asyncio.sleep(0)

        await alice.confirm(payment)

        assert (await looked).status == "succeeded", "what another process did is seen, too"


async def test_get_payment_answers_as_it_is_when_the_wait_runs_out(alice: Setup) -> None:
    payment = await alice.start()

    shown = await alice.engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=0.05)

    assert shown == payment


async def test_another_engine_finishes_what_one_left_behind(store: RedisStore) -> None:
    silent = ScriptedSettlementService(settle=[SILENCE])
    settings = quick_settings(settlement_timeout_s=5, drain_s=0.01)
    async with Engine(store, settings, settlement_service=silent) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.confirm(await alice.start(), wait_s=0)

    # The drain gave the claim up, so the next one need not wait until it runs out.
    async with Engine(store, quick_settings()) as engine:
        ended = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=5)

    assert ended.status == "succeeded"


async def test_a_debit_left_alone_by_every_process_is_found_by_the_agenda(
    fake_store: RedisStore, settings: EngineSettings
) -> None:
    bound = quick_settings(settlements_max=0)
    async with Engine(fake_store, bound) as full:
        alice = await make_setup(full, fake_store)
        payment = await alice.confirm(await alice.start(), wait_s=0)
        assert full.statistics.settlements_in_flight == 0
    # Only now: the agenda of an engine that is full would take it, and could not begin it.
    await renew_claims(fake_store, [("payment", payment.id, "1")], keep=False)

    async with Engine(fake_store, settings) as engine:
        ended = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=5)

    assert ended.status == "succeeded"
