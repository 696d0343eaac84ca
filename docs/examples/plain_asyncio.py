"""technopay inside a plain asyncio program: one purchase, on a store of its own."""

import asyncio
import secrets
import tempfile
from datetime import UTC, datetime, timedelta

from technopay.engine import (
    ConfirmationInvalid,
    Engine,
    EngineSettings,
    InsufficientFunds,
    OutcomeUnknown,
    Payment,
    read_mock_inbox,
)
from technopay.storage import RedisStore


async def pay(engine: Engine, user_id: str, payment_id: str, code: str) -> Payment | None:
    """Confirm a payment, and print what to do if it is refused."""
    try:
        return await engine.confirm_payment(user_id=user_id, payment_id=payment_id, code=code)
    except ConfirmationInvalid as refusal:
        print("wrong code;", refusal.attempts_remaining, "attempts remain")
    except InsufficientFunds as refusal:
        print("needs", refusal.required, "has", refusal.available)
    except OutcomeUnknown:
        # The store did not reply in time: read the payment, or confirm again with the same code.
        return await engine.get_payment(user_id=user_id, payment_id=payment_id, wait_s=10)
    return None


async def main(data_dir: str) -> None:
    """Make a purchase."""
    settings = EngineSettings(secret=secrets.token_hex())
    async with RedisStore.embedded(data_dir) as store, Engine(store, settings) as engine:
        await engine.create_user(user_id="alice", email="alice@example.com")
        wallet = await engine.create_wallet(user_id="alice", currency="EUR")
        await engine.deposit(wallet_id=wallet.id, amount=50_00, idempotency_key="top-up-1")
        invoice = await engine.create_invoice(
            user_id="alice",
            amount=12_50,
            currency="EUR",
            merchant="Bookshop",
            expires_at=datetime.now(UTC) + timedelta(days=1),
        )

        payment = await engine.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=wallet.id)
        while not (inbox := await read_mock_inbox(store, "alice")):
            await asyncio.sleep(0.01)
        paid = await pay(engine, "alice", payment.id, inbox[0].message.code or "")
        if paid:
            print(paid.status, paid.balance_before, "→", paid.balance_after)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
