"""Two doors to the same store, with the same commands: the store's own methods, and an engine's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Protocol

from support.diary import ATTEMPTS, RESENDS, Movement, Purchase, merchant_of
from support.scene import KEY_ID, evidence_of
from support.worker import CODE

from technopay.engine import Engine, Invoice, Payment, Wallet, WalletBusy, commands
from technopay.engine.commands import ReadPayment, ReadWallet
from technopay.engine.ports import Outcome
from technopay.engine.runtime import unwrap
from technopay.engine.values import Lease, Operation
from technopay.storage import RedisStore

ALONE = Lease("a caller", "", keep=False)
RIGHT, WRONG = evidence_of("right", 1, 2), evidence_of("wrong")
EXPIRES_AT = datetime(2100, 1, 1, tzinfo=UTC)
KEPT_MS = 3_600_000
BUSY_MAX, BUSY_PAUSE_S = 500, 0.002


class Door(Protocol):
    """A way in. Every command names itself by its number, so that it can be asked again."""

    async def deposit(self, movement: Movement) -> Wallet:
        """Put money into a wallet."""
        ...

    async def wallet(self, user_id: str, wallet_id: str) -> Wallet:
        """Read a wallet."""
        ...

    async def invoice(self, purchase: Purchase) -> Invoice:
        """Enter the invoice of a purchase."""
        ...

    async def start(self, purchase: Purchase) -> Payment:
        """Start the payment."""
        ...

    async def confirm(self, purchase: Purchase, *, is_right: bool, wait_s: float = 0) -> Payment:
        """Confirm the payment, with the right code or a wrong one."""
        ...

    async def resend(self, purchase: Purchase) -> Payment:
        """Replace the code."""
        ...

    async def cancel(self, purchase: Purchase) -> Payment:
        """Give the payment up."""
        ...

    async def payment(self, user_id: str, payment_id: str) -> Payment:
        """Read a payment."""
        ...


class StoreDoor:
    """Calls the store. Every second start keeps no record of its own: the payment is its record."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def deposit(self, movement: Movement) -> Wallet:
        operation = _operation("d", movement.number)
        command = commands.Deposit(operation, movement.account.wallet_id, movement.amount)
        outcome: Outcome[Wallet] = await self._carry_out(command)
        return unwrap(outcome)

    async def wallet(self, user_id: str, wallet_id: str) -> Wallet:
        return unwrap(await self._store.run(ReadWallet(wallet_id, user_id)))

    async def invoice(self, purchase: Purchase) -> Invoice:
        command = commands.CreateInvoice(
            operation=_operation("i", purchase.number),
            invoice_id=f"inv_00{purchase.number:06d}",
            user_id=purchase.account.user_id,
            amount=purchase.amount,
            currency="EUR",
            merchant=merchant_of(purchase),
            description=None,
            reference=None,
            expires_at=EXPIRES_AT,
        )
        return unwrap(await self._store.run(command))

    async def start(self, purchase: Purchase) -> Payment:
        command = commands.StartPayment(
            operation=_operation("s", purchase.number, is_recorded=purchase.number % 2 == 0),
            payment_id=f"pay_00{purchase.number:06d}",
            user_id=purchase.account.user_id,
            wallet_id=purchase.account.wallet_id,
            invoice_id=purchase.invoice_id,
            method="",
            key_id=KEY_ID,
            code_lifetime_ms=KEPT_MS,
            attempts=ATTEMPTS,
            resends=RESENDS,
        )
        return await self._change(command)

    async def confirm(self, purchase: Purchase, *, is_right: bool, wait_s: float = 0) -> Payment:
        operation_id = _operation(f"c{purchase.guesses}", purchase.number).operation_id
        user_id, evidence = purchase.account.user_id, RIGHT if is_right else WRONG
        command = commands.ConfirmPayment(operation_id, purchase.payment_id, user_id, evidence)
        return await self._change(command)

    async def resend(self, purchase: Purchase) -> Payment:
        command = commands.ResendCode(
            operation=_operation("r", purchase.number),
            payment_id=purchase.payment_id,
            user_id=purchase.account.user_id,
            code_version=2,
            code_lifetime_ms=KEPT_MS,
        )
        return await self._change(command)

    async def cancel(self, purchase: Purchase) -> Payment:
        operation = _operation("x", purchase.number, is_recorded=purchase.number % 2 == 0)
        command = commands.CancelPayment(operation, purchase.payment_id, purchase.account.user_id)
        return await self._change(command)

    async def payment(self, user_id: str, payment_id: str) -> Payment:
        return unwrap(await self._store.run(ReadPayment(payment_id, user_id)))

    async def _change(self, command: commands.Command[Any]) -> Payment:
        outcome: Outcome[Payment] = await self._carry_out(command)
        return unwrap(outcome)

    async def _carry_out(self, command: commands.Command[Any]) -> Outcome[Any]:
        """Ask again while an engine holds the wallet, as an actor does."""
        for _ in range(BUSY_MAX):
            outcome: Outcome[Any] = await self._store.run(command, ALONE)
            if outcome.code != "busy":
                return outcome
            await asyncio.sleep(BUSY_PAUSE_S)
        raise WalletBusy


class EngineDoor:
    """Calls an engine, with an idempotency key wherever it takes one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def deposit(self, movement: Movement) -> Wallet:
        return await self.engine.deposit(
            wallet_id=movement.account.wallet_id,
            amount=movement.amount,
            idempotency_key=f"deposit {movement.number}",
        )

    async def wallet(self, user_id: str, wallet_id: str) -> Wallet:
        return await self.engine.get_wallet(user_id=user_id, wallet_id=wallet_id)

    async def invoice(self, purchase: Purchase) -> Invoice:
        return await self.engine.create_invoice(
            user_id=purchase.account.user_id,
            amount=purchase.amount,
            currency="EUR",
            merchant=merchant_of(purchase),
            expires_at=EXPIRES_AT,
            idempotency_key=f"invoice {purchase.number}",
        )

    async def start(self, purchase: Purchase) -> Payment:
        return await self.engine.start_payment(
            user_id=purchase.account.user_id,
            invoice_id=purchase.invoice_id,
            wallet_id=purchase.account.wallet_id,
            idempotency_key=f"start {purchase.number}",
        )

    async def confirm(self, purchase: Purchase, *, is_right: bool, wait_s: float = 0) -> Payment:
        code = CODE if is_right else f"not {CODE}"
        user_id, payment_id = purchase.account.user_id, purchase.payment_id
        return await self.engine.confirm_payment(
            user_id=user_id, payment_id=payment_id, code=code, wait_s=wait_s
        )

    async def resend(self, purchase: Purchase) -> Payment:
        return await self.engine.resend_code(**_of(purchase), idempotency_key=f"resend {purchase.number}")

    async def cancel(self, purchase: Purchase) -> Payment:
        return await self.engine.cancel_payment(**_of(purchase), idempotency_key=f"cancel {purchase.number}")

    async def payment(self, user_id: str, payment_id: str) -> Payment:
        return await self.engine.get_payment(user_id=user_id, payment_id=payment_id)


def _of(purchase: Purchase) -> dict[str, Any]:
    return {"user_id": purchase.account.user_id, "payment_id": purchase.payment_id}


def _operation(step: str, number: int, *, is_recorded: bool = True) -> Operation:
    return Operation(f"op_00{number:06d}{step}", "fingerprint" if is_recorded else "", KEPT_MS)
