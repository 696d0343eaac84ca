"""Wallets of all users."""

from technopay.engine.models import Wallet
from technopay.http.client.calls import Calls, part

WALLETS = "/v1/admin/wallets"


async def create_wallet(
    self: Calls, *, user_id: str, currency: str, idempotency_key: str | None = None
) -> Wallet:
    """Create an active wallet without money."""
    body = {"user_id": user_id, "currency": currency}
    return await self._post(Wallet, WALLETS, body, key=idempotency_key)


async def find_wallet(self: Calls, *, wallet_id: str) -> Wallet:
    """Read a wallet of any user."""
    return await self._get(Wallet, f"{WALLETS}/{part(wallet_id)}")


async def deposit(self: Calls, *, wallet_id: str, amount: int, idempotency_key: str | None = None) -> Wallet:
    """Deposit money into a wallet, whatever its status."""
    path = f"{WALLETS}/{part(wallet_id)}/deposit"
    return await self._post(Wallet, path, {"amount": amount}, key=idempotency_key)


async def activate_wallet(self: Calls, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
    """Activate a wallet for payments."""
    return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/activate", key=idempotency_key)


async def deactivate_wallet(self: Calls, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
    """Deactivate a wallet for payments."""
    return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/deactivate", key=idempotency_key)
