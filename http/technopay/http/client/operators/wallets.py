"""Wallets of all users."""

from datetime import datetime
from typing import Literal

from technopay.engine.models import Entry, Statement, Wallet
from technopay.engine.record import Page
from technopay.http.client.calls import Calls, part, time_range

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


async def search_wallets(
    self: Calls,
    *,
    user_id: str | None = None,
    status: Literal["active", "inactive"] | None = None,
    limit: int = 20,
    cursor: str = "",
) -> Page[Wallet]:
    """List wallets of all users, newest first. A page can be short while there is a next one."""
    return await self._get(Page[Wallet], WALLETS, user_id=user_id, status=status, limit=limit, cursor=cursor)


async def search_entries(self: Calls, *, wallet_id: str, limit: int = 20, cursor: str = "") -> Page[Entry]:
    """List the movements of a wallet of any user, newest first."""
    return await self._get(Page[Entry], f"{WALLETS}/{part(wallet_id)}/entries", limit=limit, cursor=cursor)


async def find_statement(
    self: Calls,
    *,
    wallet_id: str,
    at_from: datetime | None = None,
    at_to: datetime | None = None,
    limit: int = 20,
    cursor: str = "",
) -> Statement:
    """Read the movements of a wallet of any user in a range of times, as `get_statement` does."""
    times = time_range(at_from, at_to)
    path = f"{WALLETS}/{part(wallet_id)}/statement"
    return await self._get(Statement, path, **times, limit=limit, cursor=cursor)


async def deposit(
    self: Calls,
    *,
    wallet_id: str,
    amount: int,
    reference: str | None = None,
    note: str | None = None,
    idempotency_key: str | None = None,
) -> Wallet:
    """Deposit money into a wallet, whatever its status; a reference is deposited once in a wallet."""
    path, body = (
        f"{WALLETS}/{part(wallet_id)}/deposit",
        {"amount": amount, "reference": reference, "note": note},
    )
    return await self._post(Wallet, path, body, key=idempotency_key)


async def withdraw(
    self: Calls, *, wallet_id: str, amount: int, note: str, idempotency_key: str | None = None
) -> Wallet:
    """Take money out of a wallet, whatever its status, never more than its balance."""
    path = f"{WALLETS}/{part(wallet_id)}/withdraw"
    return await self._post(Wallet, path, {"amount": amount, "note": note}, key=idempotency_key)


async def adjust(
    self: Calls, *, wallet_id: str, amount: int, note: str, idempotency_key: str | None = None
) -> Wallet:
    """Correct the balance of a wallet, whatever its status, by a signed amount; never below zero."""
    path = f"{WALLETS}/{part(wallet_id)}/adjust"
    return await self._post(Wallet, path, {"amount": amount, "note": note}, key=idempotency_key)


async def activate_wallet(self: Calls, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
    """Activate a wallet for payments."""
    return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/activate", key=idempotency_key)


async def deactivate_wallet(self: Calls, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
    """Deactivate a wallet for payments."""
    return await self._post(Wallet, f"{WALLETS}/{part(wallet_id)}/deactivate", key=idempotency_key)
