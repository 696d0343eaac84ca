"""A refund through the library, asked for again when it is over."""

from __future__ import annotations

import pytest
from support.scenes import make_scene, quick_settings

from technopay.engine import Engine, EngineSettings
from technopay.storage import RedisStore


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


async def test_a_refund_that_is_asked_for_again_when_it_is_over_is_not_credited_again(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_scene(engine, store)
    paid = await alice.pay()

    answers = [await engine.refund_payment(payment_id=paid.id) for _ in range(3)]

    assert [answer.status for answer in answers] == ["refunded"] * 3
    assert [len(answer.refunds) for answer in answers] == [1] * 3
    assert await alice.balance() == 10_000
    entries = await engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)
    assert [entry.kind for entry in entries.data] == ["refund", "payment", "deposit"]
