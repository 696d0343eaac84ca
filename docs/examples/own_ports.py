"""technopay with its own settlement service, channel and second step."""

import asyncio
import secrets
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Literal

from technopay.engine import (
    ANY,
    Engine,
    EngineSettings,
    MatchingVersions,
    OutgoingMessage,
    PaymentTerms,
    RefundTerms,
)
from technopay.storage import RedisStore


class Bank:
    """A settlement service. Every call names the payment, so that it can be repeated.

    Raise if the result is unknown: the call is repeated, and money goes back only on a clear "declined" or
    "called_off".
    """

    def __init__(self) -> None:
        self._book: dict[str, Literal["settled", "called_off"]] = {}

    async def settle(self, terms: PaymentTerms) -> Literal["settled", "declined"]:
        """Take the money, unless the payment was called off."""
        return "settled" if self._book.setdefault(terms.payment_id, "settled") == "settled" else "declined"

    async def status(
        self, terms: PaymentTerms
    ) -> Literal["settled", "declined", "called_off", "pending", "not_found"]:
        """Return the status of a payment."""
        return self._book.get(terms.payment_id, "not_found")

    async def call_off(
        self, terms: PaymentTerms
    ) -> Literal["called_off", "already_settled", "already_declined"]:
        """Promise never to settle the payment, known or not. If the bank cannot, raise."""
        known = self._book.setdefault(terms.payment_id, "called_off")
        return "already_settled" if known == "settled" else "called_off"

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Literal["reversed", "declined"]:
        """Give a settled payment back, or decline to. The refund's id is the key."""
        return "reversed"


class Terminal:
    """A channel. Return when the message was accepted; raise when it was not."""

    async def deliver(self, message: OutgoingMessage) -> None:
        """Deliver the message. The same `event_id` can come twice; deliver one of them."""
        print(f"to {message.to}: {message.text}")


class FavouriteBook:
    """A second step without a code to send: a question that only the user can answer.

    `check` compares an answer, without counting: the store counts attempts, judges the time, and takes a right
    answer once. ANY says that it is right whichever code was sent last.
    """

    def __init__(self, book: str) -> None:
        self._book = book

    async def code(self, terms: PaymentTerms, version: int) -> str | None:
        """Return None: there is nothing to send."""
        return None

    async def check(self, terms: PaymentTerms, answer: str, versions: AbstractSet[int]) -> MatchingVersions:
        """Compare an answer."""
        return ANY if answer.strip().lower() == self._book.lower() else set()


async def main() -> None:
    """Make a purchase."""
    settings = EngineSettings(secret=secrets.token_hex())
    async with (
        RedisStore.fake() as store,
        Engine(
            store,
            settings,
            settlement_service=Bank(),
            channels={"email": Terminal()},
            verifier=FavouriteBook("Momo"),
        ) as engine,
    ):
        await engine.create_user(user_id="alice", email="alice@example.com")
        wallet = await engine.create_wallet(user_id="alice", currency="EUR")
        await engine.deposit(wallet_id=wallet.id, amount=50_00)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        invoice = await engine.create_invoice(
            user_id="alice", amount=12_50, currency="EUR", merchant="Bookshop", expires_at=tomorrow
        )
        payment = await engine.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=wallet.id)
        paid = await engine.confirm_payment(user_id="alice", payment_id=payment.id, code=" momo ")
        print(paid.status, paid.balance_before, "→", paid.balance_after)


if __name__ == "__main__":
    asyncio.run(main())
