"""Races between processes: prepared here, run by engines in processes of their own, audited at the end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import wait_for
from support.fixtures.fixed_code import CODE
from support.fixtures.store_setup import Setup
from support.processes.engine_process import Answer, Call, FarEngine, Role

from technopay.engine import Engine, Invoice, Payment, Wallet

PROCESSES = 4
PRICE = 10
PATIENT = {"command_deadline_s": 60.0, "settlement_timeout_s": 5.0, "settlement_silence_s": 60.0}
"""Settings with which a slow machine drops no command and sets no payment aside."""


def confirm(payment: Payment, code: str = CODE) -> Call:
    return "confirm_payment", {"user_id": payment.user_id, "payment_id": payment.id, "code": code, "wait_s": 10}


@dataclass(frozen=True)
class ProcessRace:
    """One store, the engines that race on it, one engine here to prepare and to read, and the records."""

    role: Role
    far: Sequence[FarEngine]
    engine: Engine
    records: Setup
    archives: list[str] = field(default_factory=list)
    """The archive of a store whose records leave it, if they do."""

    async def begin(self, **settings: Any) -> None:
        """Open the engines of the race."""
        role = replace(self.role, settings={**self.role.settings, **settings})
        await asyncio.gather(*(far.begin(role) for far in self.far))

    async def race(self, calls: Sequence[Call]) -> list[Answer]:
        """Distribute the calls over all processes, make them all at once, and audit; return the results."""
        dealt = [calls[each::PROCESSES] for each in range(PROCESSES)]
        return list(chain.from_iterable(await self.race_apart(*dealt)))

    async def race_apart(self, *calls: Sequence[Call]) -> list[list[Answer]]:
        """Give each process its own calls, make them all at once, and audit; return the results of each."""
        sent = [far.send(own) for far, own in zip(self.far, calls, strict=False)]
        results = [list(await asyncio.gather(*futures)) for futures in sent]
        await assert_books_balance(self.role.url, self.role.namespace)
        return results

    async def make_user(self, user_id: str, balance: int, email: str | None = None) -> Wallet:
        """Make a user with a wallet and a balance."""
        await self.engine.create_user(user_id=user_id, email=email or f"{user_id}@example.com")
        return await self.make_wallet(user_id, balance)

    async def make_wallet(self, user_id: str, balance: int) -> Wallet:
        wallet = await self.engine.create_wallet(user_id=user_id, currency="EUR")
        return await self.engine.deposit(wallet_id=wallet.id, amount=balance) if balance else wallet

    async def make_invoices(self, user_id: str, count: int) -> list[Invoice]:
        """Make equal invoices."""
        expires_at = datetime(2100, 1, 1, tzinfo=UTC)
        terms: dict[str, Any] = {"currency": "EUR", "merchant": "shop", "expires_at": expires_at}
        return await asyncio.gather(
            *(self.engine.create_invoice(user_id=user_id, amount=PRICE, **terms) for _ in range(count))
        )

    async def start(self, wallet: Wallet, invoice: Invoice) -> Payment:
        return await self.engine.start_payment(
            user_id=wallet.user_id, invoice_id=invoice.id, wallet_id=wallet.id
        )

    async def start_many(self, wallet: Wallet, count: int) -> list[Payment]:
        """Start payments, each of an invoice of its own."""
        invoices = await self.make_invoices(wallet.user_id, count)
        return await asyncio.gather(*(self.start(wallet, invoice) for invoice in invoices))

    async def balance(self, wallet: Wallet) -> int:
        return (await self.engine.find_wallet(wallet_id=wallet.id)).balance

    async def payments_at_rest(self, payment_ids: Sequence[str]) -> list[Payment]:
        """Read payments when all are at rest."""

        async def look() -> list[Payment]:
            found: list[Payment] = [await self.engine.find_payment(payment_id=each) for each in payment_ids]
            return found if all(payment.is_at_rest for payment in found) else []

        return await wait_for(look)
