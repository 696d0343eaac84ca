"""The commands of a wallet: imperative, frozen, each one atomic step of the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from technopay.engine.models import Payment, Wallet
from technopay.engine.ports import Lease, Operation, Outcome, Store, Verdict


class Command(Protocol):
    """What an actor can carry out."""

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment] | Outcome[Wallet]:
        """Carry it out."""
        ...


@dataclass(frozen=True, slots=True)
class StartPayment:
    """Begin to pay an invoice."""

    operation: Operation
    payment_id: str
    user_id: str
    wallet_id: str
    invoice_id: str
    method: str
    digest: str
    code_lifetime_ms: int
    attempts: int
    resends: int

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment]:
        """Carry it out."""
        return await store.start_payment(self, lease)


@dataclass(frozen=True, slots=True)
class ConfirmPayment:
    """Show evidence of the second step; take the money."""

    operation: Operation
    payment_id: str
    user_id: str
    digest: str

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment]:
        """Carry it out."""
        return await store.confirm_payment(self, lease)


@dataclass(frozen=True, slots=True)
class ResendCode:
    """Replace the code of a payment by the one with this issue number."""

    operation: Operation
    payment_id: str
    user_id: str
    issue: int
    digest: str
    code_lifetime_ms: int

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment]:
        """Carry it out."""
        return await store.resend_code(self, lease)


@dataclass(frozen=True, slots=True)
class CancelPayment:
    """Give up an unconfirmed payment."""

    operation: Operation
    payment_id: str
    user_id: str

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment]:
        """Carry it out."""
        return await store.cancel_payment(self, lease)


@dataclass(frozen=True, slots=True)
class Deposit:
    """Put money into a wallet."""

    operation: Operation
    wallet_id: str
    amount: int

    async def run(self, store: Store, lease: Lease) -> Outcome[Wallet]:
        """Carry it out."""
        return await store.deposit(self, lease)


@dataclass(frozen=True, slots=True)
class SetWalletStatus:
    """Activate or deactivate a wallet."""

    operation: Operation
    wallet_id: str
    status: str

    async def run(self, store: Store, lease: Lease) -> Outcome[Wallet]:
        """Carry it out."""
        return await store.set_wallet_status(self, lease)


@dataclass(frozen=True, slots=True)
class BeginRefund:
    """Begin to give a succeeded payment back."""

    operation: Operation
    payment_id: str

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment]:
        """Carry it out."""
        return await store.begin_refund(self, lease)


@dataclass(frozen=True, slots=True)
class CompletePayment:
    """Write down what the settlement service decided. The claim decides here, not the lease."""

    payment_id: str
    claim: str
    verdict: Verdict

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment]:  # noqa: ARG002
        """Carry it out."""
        return await store.complete_payment(self.payment_id, self.claim, self.verdict)


@dataclass(frozen=True, slots=True)
class NewInvoice:
    """An invoice to enter."""

    id: str
    user_id: str
    amount: int
    currency: str
    merchant: str
    description: str | None
    reference: str | None
    expires_at: datetime
