"""A faked store with a clock that a program moves."""

from datetime import UTC, datetime, timedelta

import pytest
from support.fixtures.engine_setup import make_setup, quick_settings

from technopay.engine import ConfirmationExpired, Engine, FixedCode
from technopay.storage import RedisStore


async def test_a_program_moves_the_time_of_a_faked_store() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    async with (
        RedisStore.fake(clock=lambda: now) as store,
        Engine(store, quick_settings(), verifier=FixedCode()) as engine,
    ):
        alice = await make_setup(engine, store)
        invoice = await engine.create_invoice(
            user_id="alice", amount=10, currency="EUR", merchant="Shop", expires_at=now + timedelta(days=1)
        )
        payment = await alice.start(invoice)
        assert payment.created_at == now
        now += timedelta(minutes=5)
        with pytest.raises(ConfirmationExpired):
            await alice.confirm(payment, "123456")
        paid = await alice.confirm(await alice.start(invoice), "123456")
        assert paid.paid_at == now
        assert (await store.audit()).clean
