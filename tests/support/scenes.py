"""What tests need again and again: somebody with a wallet and an invoice, the code from the inbox, a wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from technopay.engine import (
    Engine,
    EngineSettings,
    InboxMessage,
    Invoice,
    MessageCode,
    Payment,
    Wallet,
    read_mock_inbox,
)
from technopay.engine.ports import Store
from technopay.engine.settings import derive_key
from technopay.engine.values import PaymentTerms

Seen = TypeVar("Seen")

SECRET = "9f2c1e-of-tests-only-7b40d8-unprinted"
TOKEN_KEY = derive_key(SECRET, "token").hex()
"""What `serve` signs tokens with, where they have no secret of their own."""
WAIT_S_MAX = 60.0


def lax_settings(**changes: Any) -> EngineSettings:
    """Settings as they are by themselves, but without limits on behaviour: users of tests pay a lot."""
    lax: dict[str, Any] = {
        "secret": SECRET,
        "codes_per_hour": None,
        "confirms_per_minute": None,
        "failures_per_day": None,
    }
    return EngineSettings(**(lax | changes))


def quick_settings(**changes: Any) -> EngineSettings:
    """Lax settings under which nothing takes long: back-off in milliseconds, the agenda ten times a second."""
    quick: dict[str, Any] = {
        "settlement_timeout_s": 0.1,
        "settlement_backoff_s": 0.005,
        "settlement_silence_s": 0.5,
        "message_backoff_s": 0.01,
        "message_timeout_s": 0.2,
        "agenda_interval_s": 0.05,
        "events_interval_s": 0.05,
        "drain_s": 0.2,
    }
    return lax_settings(**(quick | changes))


async def wait_for(look: Callable[[], Awaitable[Seen]], *, within_s: float = WAIT_S_MAX) -> Seen:
    """Look again and again until there is something to see; answer it."""
    give_up_at = time.monotonic() + within_s
    while not (seen := await look()):
        assert time.monotonic() < give_up_at, f"not seen within {within_s} s"
        await asyncio.sleep(0.005)
    return seen


async def derive_code(settings: EngineSettings, payment: Payment, issue: int = 1) -> str:
    """Answer the code that a user would get."""
    verifier = MessageCode(code_key=settings.derive_key("code"))
    code = await verifier.code(terms_of(payment), issue)
    assert code is not None
    return code


def terms_of(payment: Payment) -> PaymentTerms:
    """Answer what the code of a payment is bound to."""
    return PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)


def other_than(code: str) -> str:
    """Answer a wrong code."""
    return str((int(code) + 1) % 1_000_000).zfill(6)


@dataclass(frozen=True, slots=True)
class Scene:
    """A user with a wallet, in an engine."""

    engine: Engine
    store: Store
    user_id: str
    wallet: Wallet

    @property
    def wallet_id(self) -> str:
        return self.wallet.id

    async def invoice(
        self,
        amount: int = 2_500,
        merchant: str = "bookshop",
        *,
        currency: str = "EUR",
        expires_in_s: float = 3_600,
        reference: str | None = None,
    ) -> Invoice:
        """Enter an invoice that the user has to pay."""
        return await self.engine.create_invoice(
            user_id=self.user_id,
            amount=amount,
            currency=currency,
            merchant=merchant,
            reference=reference,
            expires_at=datetime.now(UTC) + timedelta(seconds=expires_in_s),
        )

    async def start(self, invoice: Invoice | None = None, *, key: str | None = None) -> Payment:
        """Start to pay an invoice."""
        invoice = invoice or await self.invoice()
        return await self.engine.start_payment(
            user_id=self.user_id, invoice_id=invoice.id, wallet_id=self.wallet_id, idempotency_key=key
        )

    async def confirm(self, payment: Payment, code: str | None = None, *, wait_s: float = 4) -> Payment:
        """Confirm a payment, with the right code unless another one is given."""
        return await self.engine.confirm_payment(
            user_id=self.user_id,
            payment_id=payment.id,
            code=code if code is not None else await self.right_code(payment),
            wait_s=wait_s,
        )

    async def pay(self, invoice: Invoice | None = None) -> Payment:
        """Pay an invoice: start, confirm, wait."""
        return await self.confirm(await self.start(invoice))

    async def right_code(self, payment: Payment, issue: int = 1) -> str:
        """Answer the code that the user got or will get."""
        return await derive_code(self.engine.settings, payment, issue)

    async def balance(self) -> int:
        """Read what the wallet holds."""
        return (await self.engine.find_wallet(wallet_id=self.wallet_id)).balance

    async def payment(self, payment: Payment) -> Payment:
        """Read a payment again."""
        return await self.engine.find_payment(payment_id=payment.id)

    async def messages(self, kind: str) -> list[InboxMessage]:
        """Read what the user was told, newest first."""
        inbox = await read_mock_inbox(self.store, self.user_id)
        return [each for each in inbox if each.message.kind == kind]

    async def message(self, kind: str, nth: int = 1) -> InboxMessage:
        """Wait for the nth message of a kind to the user."""

        async def look() -> InboxMessage | None:
            messages = await self.messages(kind)
            return messages[-nth] if len(messages) >= nth else None

        seen = await wait_for(look)
        assert seen is not None
        return seen

    async def code_from_inbox(self, payment: Payment, nth: int = 1) -> str:
        """Wait for the nth code of a payment to arrive in the mock inbox."""

        async def look() -> str | None:
            codes = [
                each.message.code
                for each in await self.messages("confirmation.code")
                if each.message.payment_id == payment.id
            ]
            return codes[-nth] if len(codes) >= nth else None

        code = await wait_for(look)
        assert code is not None
        return code


async def make_scene(
    engine: Engine,
    store: Store,
    user_id: str = "alice",
    *,
    balance: int = 10_000,
    currency: str = "EUR",
    email: str | None = "alice@example.com",
    phone: str | None = None,
) -> Scene:
    """Make a user with a wallet that holds something."""
    await engine.create_user(user_id=user_id, email=email, phone=phone)
    wallet = await engine.create_wallet(user_id=user_id, currency=currency)
    if balance:
        wallet = await engine.deposit(wallet_id=wallet.id, amount=balance)
    return Scene(engine, store, user_id, wallet)
