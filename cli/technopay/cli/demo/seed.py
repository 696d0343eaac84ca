"""The demo data: users, wallets and invoices for every refusal."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from technopay.engine import Engine, IdempotencyKeyReused, UserExists

OPEN_FOR = timedelta(days=365)
CURRENCY = "EUR"
DAILY_LIMIT = 30_000
MERCHANTS = (
    "Bookshop", "Café Central", "acme-declines", "acme-errors", "acme-slow", "acme-timeout", "acme-lost",
    "acme-flaky", "acme-stuck",
)  # fmt: skip


async def seed(engine: Engine) -> None:
    """Add the demo data. Idempotency keys make a repeat safe, and nothing is overwritten."""
    if not await engine.list_all_limits():
        await engine.set_limit(currency=CURRENCY, amount=DAILY_LIMIT)
    await _add_user(engine, "demo-alice", "alice@example.com", 50_000)
    await _add_user(engine, "demo-blocked", "blocked@example.com", 50_000)
    inactive = await _add_user(engine, "demo-inactive", "inactive@example.com", 50_000)
    await _add_user(engine, "demo-poor", "poor@example.com", 100)
    await _add_user(engine, "demo-unreachable", "dead@example.com", 50_000)
    for merchant in MERCHANTS:
        await _add_invoice(engine, "demo-alice", merchant, 1_250)
    await _add_invoice(engine, "demo-alice", "Jeweller", 40_000)
    await _add_invoice(engine, "demo-alice", "Cinema", 900, open_for=timedelta(seconds=1))
    for user_id in ("demo-blocked", "demo-inactive", "demo-poor", "demo-unreachable"):
        await _add_invoice(engine, user_id, "Bookshop", 1_250)
    await engine.deactivate_wallet(wallet_id=inactive, idempotency_key="seed-inactive")
    await engine.block_user(user_id="demo-blocked", idempotency_key="seed-blocked")


async def _add_user(engine: Engine, user_id: str, email: str, balance: int) -> str:
    with suppress(UserExists):
        await engine.create_user(
            user_id=user_id, email=email, phone="+15550100", idempotency_key=f"seed-user-{user_id}"
        )
    wallet = await engine.create_wallet(
        user_id=user_id, currency=CURRENCY, idempotency_key=f"seed-wallet-{user_id}"
    )
    await engine.deposit(wallet_id=wallet.id, amount=balance, idempotency_key=f"seed-deposit-{user_id}")
    return wallet.id


async def _add_invoice(
    engine: Engine, user_id: str, merchant: str, amount: int, *, open_for: timedelta = OPEN_FOR
) -> None:
    # An earlier run made it, with another expiry.
    with suppress(IdempotencyKeyReused):
        await engine.create_invoice(
            user_id=user_id,
            amount=amount,
            currency=CURRENCY,
            merchant=merchant,
            expires_at=datetime.now(UTC) + open_for,
            idempotency_key=f"seed-invoice-{user_id}-{merchant!a}",
        )
