"""The end of a debit or a refund: settled, given back on a clear no, set aside; never given back on silence."""

import asyncio
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.store_commands import mock_settlement

from technopay.engine import (
    SILENCE,
    Engine,
    PaymentNotRefundable,
    ScriptedSettlementService,
    SettlementFailed,
)
from technopay.storage import RedisStore


@pytest.mark.parametrize("merchant", ["shop", "shop-flaky", "shop-lost", "slow", "declines"])
async def test_a_debit_that_is_settled_in_the_end_succeeds(alice: Setup, merchant: str) -> None:
    paid = await alice.pay(await alice.invoice(2_500, merchant))

    assert paid.status == "succeeded"
    assert await alice.balance() == 7_500


@pytest.mark.parametrize(
    ("merchant", "status"),
    [("shop-declines", "declined"), ("shop-errors", "called_off"), ("shop-timeout", "called_off")],
)
async def test_a_debit_is_given_back_when_it_is_declined_or_called_off(
    alice: Setup, merchant: str, status: str
) -> None:
    await alice.engine.set_limit(currency="EUR", amount=5_000)
    payment = await alice.start(await alice.invoice(2_500, merchant))

    with pytest.raises(SettlementFailed) as refused:
        await alice.confirm(payment)

    failed = refused.value.payment
    assert failed is not None
    assert failed.failure is not None
    assert (failed.status, failed.failure.code) == ("failed", "settlement_failed")
    assert failed.refunded_amount == 2_500
    (refund,) = failed.refunds
    assert (refund.amount, refund.reason) == (2_500, "settlement_failed")
    assert failed.paid_at is not None
    assert failed.paid_at <= refund.at
    assert (failed.balance_before, failed.balance_after, failed.settled_at) == (10_000, 7_500, None)
    assert await alice.balance() == 10_000
    shown = await alice.engine.find_invoice(invoice_id=payment.invoice_id)
    assert (shown.status, shown.paid_at, shown.payment_id, shown.refunded_amount) == ("open", None, None, 0)
    (limit,) = await alice.engine.list_limits(user_id="alice")
    assert limit.used == 0, "the share of the limit comes back, too"
    for call in ("status", "settle"):
        assert await mock_settlement(alice.store, call, payment.id, 0) == status, "a late request is void"


@pytest.mark.parametrize("is_refund", [False, True], ids=["debit", "refund"])
async def test_what_was_set_aside_is_still_asked_about_and_ends_by_itself(
    store: RedisStore, *, is_refund: bool
) -> None:
    settle: list[Any] = ["settled"] if is_refund else [SILENCE]
    service = ScriptedSettlementService(settle=settle, status=[SILENCE], reverse=[SILENCE])
    settings = quick_settings(settlement_timeout_s=0.02, settlement_silence_s=0.05, set_aside_interval_s=0.05)
    async with Engine(store, settings, settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.confirm(await alice.start(), wait_s=10)
        shown = await engine.refund_payment(payment_id=payment.id) if is_refund else payment
        assert (shown.status, shown.set_aside) == ("refunding" if is_refund else "processing", True)
        assert [each.id for each in (await engine.search_payments(set_aside=True)).data] == [payment.id]
        assert await alice.balance() == 7_500
        if not is_refund:
            with pytest.raises(PaymentNotRefundable, match="set aside, its settlement is unknown: resolve it"):
                await engine.refund_payment(payment_id=payment.id)
        service._answers |= {"settle": ["settled"], "reverse": ["declined"]}

        async def has_ended() -> bool:
            now = await alice.payment(payment)
            return now.status == "succeeded" and not now.set_aside

        await wait_for(has_ended)
        assert await alice.balance() == 7_500


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
        assert (await engine.refund_payment(payment_id=paid.id)).set_aside

        resolved = await engine.resolve_payment(payment_id=paid.id, outcome=outcome, note="n", by="olga")

        assert (resolved.status, resolved.set_aside) == (status, False)
        assert await alice.balance() == balance
        assert (await engine.find_invoice(invoice_id=paid.invoice_id)).status == "paid"


@pytest.mark.any_partition
async def test_a_refund_that_is_asked_for_again_when_it_is_over_is_not_credited_again(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    paid = await alice.pay()

    answers = [await engine.refund_payment(payment_id=paid.id) for _ in range(3)]

    assert [answer.status for answer in answers] == ["refunded"] * 3
    assert [len(answer.refunds) for answer in answers] == [1] * 3
    assert await alice.balance() == 10_000
    entries = await engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)
    assert [entry.kind for entry in entries.data] == ["refund", "payment", "deposit"]
    assert await mock_settlement(store, "status", paid.id, 0) == "reversed"


@pytest.mark.any_partition
async def test_a_declined_reversal_credits_nothing_and_another_refund_can_succeed(store: RedisStore) -> None:
    service = ScriptedSettlementService(
        settle=["settled"], reverse=[ConnectionError("down"), "declined", "reversed"]
    )
    async with Engine(store, quick_settings(), settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        paid = await alice.pay()
        async with await engine.events(user_id="alice") as events:
            declined = await engine.refund_payment(payment_id=paid.id, idempotency_key="first")
            types = [(await anext(events)).type for _ in range(2)]

        assert (declined.status, declined.refunded_amount) == ("succeeded", 0)
        assert [each.status for each in declined.refunds] == ["failed"]
        assert types == ["payment.refunding", "payment.refund_failed"]
        assert await alice.balance() == 7_500
        assert (await engine.find_invoice(invoice_id=paid.invoice_id)).status == "paid"
        again = await engine.refund_payment(payment_id=paid.id, idempotency_key="first")
        assert again.replayed
        assert service.calls.count("reverse") == 2, "a repeat is not another refund"

        assert (await engine.refund_payment(payment_id=paid.id)).status == "refunded"
        assert await alice.balance() == 10_000
        assert await alice.messages("payment.refund_failed") == []
    first, first_again, second = service.refunds
    assert first == first_again, "the id of a refund is its key"
    assert first.id != second.id
    assert (second.id[:6], second.amount) == (f"ref_{paid.id[4:6]}", 2_500)


async def test_a_wait_for_a_payment_ends_with_a_change_by_another_process(store: RedisStore) -> None:
    async with Engine(store, quick_settings()) as paying, Engine(store, quick_settings()) as reading:
        alice = await make_setup(paying, store)
        payment = await alice.start()
        read = asyncio.create_task(reading.get_payment(user_id="alice", payment_id=payment.id, wait_s=10))
        await asyncio.sleep(0)

        await alice.confirm(payment)

        assert (await read).status == "succeeded"


async def test_another_engine_finishes_what_one_left_behind(store: RedisStore) -> None:
    silent = ScriptedSettlementService(settle=[SILENCE])
    settings = quick_settings(settlement_timeout_s=5, drain_s=0.01)
    async with Engine(store, settings, settlement_service=silent) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.confirm(await alice.start(), wait_s=0)

    # The drain gave the claim up, so the next engine need not wait until it runs out.
    async with Engine(store, quick_settings()) as engine:
        ended = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=5)

    assert ended.status == "succeeded"
