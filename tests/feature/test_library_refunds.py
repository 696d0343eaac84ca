"""Refunds through the library: asked for again when they are over, declined, set aside."""

from __future__ import annotations

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for

from technopay.engine import SILENCE, Engine, EngineSettings, ScriptedSettlementService
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


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


async def test_a_declined_reversal_credits_nothing_and_another_refund_can_succeed(store: RedisStore) -> None:
    service = ScriptedSettlementService(
        settle=["settled"], reverse=[ConnectionError("down"), "declined", "reversed"]
    )
    async with Engine(store, quick_settings(), settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        paid = await alice.pay()
        async with await engine.events(user_id="alice") as events:
            declined = await engine.refund_payment(payment_id=paid.id, idempotency_key="first")
            heard = [(await anext(events)).type for _ in range(2)]

        assert (declined.status, declined.refunds, declined.refunded_amount) == ("succeeded", [], 0)
        assert heard == ["payment.refunding", "payment.refund_failed"]
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


async def test_a_refund_that_was_set_aside_is_still_asked_for(store: RedisStore) -> None:
    service = ScriptedSettlementService(settle=["settled"], reverse=[SILENCE])
    async with Engine(store, quick_settings(set_aside_interval_s=0.05), settlement_service=service) as engine:
        alice = await make_setup(engine, store)
        paid = await alice.pay()
        shown = await engine.refund_payment(payment_id=paid.id)
        assert (shown.status, shown.set_aside) == ("refunding", True)
        service._answers["reverse"] = ["declined"]

        async def ended() -> bool:
            return (await alice.payment(paid)).status == "succeeded"

        await wait_for(ended)
        assert not (await alice.payment(paid)).set_aside
        assert await alice.balance() == 7_500
