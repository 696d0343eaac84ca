"""A faked store whose time a program moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.fixtures.engine_setup import quick_settings

from technopay.engine import ConfirmationExpired, Engine, FixedCode
from technopay.storage import RedisStore


async def test_a_program_moves_the_time_of_a_faked_store() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    async with (
        RedisStore.fake(clock=lambda: now) as store,
        Engine(store, quick_settings(), verifier=FixedCode()) as engine,
    ):
        await engine.create_user(user_id="alice", email="alice@example.com")
        wallet = await engine.create_wallet(user_id="alice", currency="EUR")
        await engine.deposit(wallet_id=wallet.id, amount=100)
        invoice = await engine.create_invoice(
            user_id="alice", amount=10, currency="EUR", merchant="Shop", expires_at=now + timedelta(days=1)
        )
        payment = await engine.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=wallet.id)
        assert payment.created_at == now
        now += timedelta(minutes=5)
        with pytest.raises(ConfirmationExpired):
            await engine.confirm_payment(user_id="alice", payment_id=payment.id, code="123456")
        again = await engine.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=wallet.id)
        paid = await engine.confirm_payment(user_id="alice", payment_id=again.id, code="123456")
        assert paid.paid_at == now
        assert (await store.audit()).clean
