"""How to test a program that embeds the engine: a store in memory, and doubles of its services."""

import asyncio
from datetime import UTC, datetime, timedelta

from technopay.engine import (
    Engine,
    EngineSettings,
    FixedCode,
    RecordingChannel,
    ScriptedSettlementService,
    SettlementFailed,
)
from technopay.storage import RedisStore


async def sell(engine: Engine, wallet_id: str, amount: int, code: str) -> str:
    """Sell something: the program under test."""
    invoice = await engine.create_invoice(
        user_id="alice",
        amount=amount,
        currency="EUR",
        merchant="Bookshop",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    payment = await engine.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=wallet_id)
    try:
        paid = await engine.confirm_payment(user_id="alice", payment_id=payment.id, code=code)
    except SettlementFailed:
        return "the bank said no"
    return paid.status


async def test_a_sale_and_one_that_the_bank_declines() -> None:
    """Test the program; with pytest-asyncio it is found by its name."""
    bank = ScriptedSettlementService(settle=["settled", "declined"])
    channel = RecordingChannel()
    settings = EngineSettings(secret="a secret for tests, and for tests alone")
    async with (
        RedisStore.fake() as store,
        Engine(
            store,
            settings,
            settlement_service=bank,
            channels={"email": channel},
            verifier=FixedCode("123456"),
        ) as engine,
    ):
        await engine.create_user(user_id="alice", email="alice@example.com")
        wallet = await engine.create_wallet(user_id="alice", currency="EUR")
        await engine.deposit(wallet_id=wallet.id, amount=100)

        assert await sell(engine, wallet.id, 30, "123456") == "succeeded"
        assert await sell(engine, wallet.id, 50, "123456") == "the bank said no"

        assert bank.calls == ["settle", "settle"]
        assert (await engine.find_wallet(wallet_id=wallet.id)).balance == 70
        assert (await engine.audit()).clean
        # Messages follow what they tell of, a moment later.
        async with asyncio.timeout(5):
            while len(channel.messages) < 2:
                await asyncio.sleep(0.01)
        assert [message.kind for message in channel.messages] == ["payment.succeeded", "payment.failed"]


if __name__ == "__main__":
    asyncio.run(test_a_sale_and_one_that_the_bank_declines())
    print("passed")
