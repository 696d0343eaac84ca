"""Where races between processes are run: prepared here, run by a team of workers, audited in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from support.fixtures.audit import assert_books_balance
from support.processes.worker import Call, Result, Team

from technopay.engine import Engine, Invoice, Payment, Wallet

WORKERS = 4
PATIENCE_S = 60.0
"""A slow machine drops no command."""


class ProcessRace:
    """One store, one engine here to prepare and to look, and the workers that race on it."""

    def __init__(self, url: str, namespace: str, timezone: str, engine: Engine, team: Team) -> None:
        self.engine = engine
        self._place = url, namespace, timezone
        self._team = team

    async def make_user(self, user_id: str, balance: int) -> Wallet:
        """Make a user with a wallet that holds this much."""
        await self.engine.create_user(user_id=user_id, email=f"{user_id}@example.com")
        return await self.make_wallet(user_id, balance)

    async def make_wallet(self, user_id: str, balance: int) -> Wallet:
        """Make another wallet."""
        wallet = await self.engine.create_wallet(user_id=user_id, currency="EUR")
        return await self.engine.deposit(wallet_id=wallet.id, amount=balance) if balance else wallet

    async def make_invoices(self, user_id: str, count: int, amount: int = 10) -> list[Invoice]:
        """Enter invoices, all alike."""
        expires_at = datetime(2100, 1, 1, tzinfo=UTC)
        arguments: dict[str, Any] = {"currency": "EUR", "merchant": "shop", "expires_at": expires_at}
        return await asyncio.gather(
            *(self.engine.create_invoice(user_id=user_id, amount=amount, **arguments) for _ in range(count))
        )

    async def start(self, wallet: Wallet, invoice: Invoice) -> Payment:
        """Start a payment."""
        return await self.engine.start_payment(
            user_id=wallet.user_id, invoice_id=invoice.id, wallet_id=wallet.id
        )

    async def race(self, calls: Sequence[Call], workers: int = WORKERS, **settings: Any) -> list[Result]:
        """Deal the calls out to the workers, let all begin at once, answer the results; then audit."""
        dealt = [calls[each::workers] for each in range(workers)]
        return list(chain.from_iterable(await self.race_apart(*dealt, **settings)))

    async def race_apart(self, *calls: Sequence[Call], **settings: Any) -> list[list[Result]]:
        """Give every worker its own calls, let all begin at once, answer the results; then audit the store."""
        patient = {"command_deadline_s": PATIENCE_S} | settings
        results = await asyncio.to_thread(self._team.run, *self._place, *calls, **patient)
        await assert_books_balance(*self._place[:2])
        return results
