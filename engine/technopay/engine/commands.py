"""The commands of a wallet: imperative, frozen, each one atomic step of the store."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from technopay.engine.ports import Operation, Verdict


class StartPayment(NamedTuple):
    """Begin to pay an invoice."""

    operation: Operation
    payment_id: str
    user_id: str
    wallet_id: str
    invoice_id: str
    method: str
    key_id: str
    code_lifetime_ms: int
    attempts: int
    resends: int
    codes_per_hour: int | None = None
    failures_per_day: int | None = None


class Evidence(NamedTuple):
    """What an answer is worth: the versions that it matches under a key, ',1,3,' or '*' for all of them.

    `digests` are '<key id>:<digest of the answer>' under every key of the engine, the current one first.
    """

    key_id: str
    versions: str
    digests: str


class ConfirmPayment(NamedTuple):
    """Show evidence of the second step; take the money."""

    operation: Operation
    payment_id: str
    user_id: str
    evidence: Evidence
    confirms_per_minute: int | None = None
    failures_per_day: int | None = None


class ResendCode(NamedTuple):
    """Replace the code of a payment by the one with this issue number."""

    operation: Operation
    payment_id: str
    user_id: str
    issue: int
    code_lifetime_ms: int
    codes_per_hour: int | None = None
    failures_per_day: int | None = None


class CancelPayment(NamedTuple):
    """Give up an unconfirmed payment."""

    operation: Operation
    payment_id: str
    user_id: str


class Deposit(NamedTuple):
    """Put money into a wallet."""

    operation: Operation
    wallet_id: str
    amount: int


class SetWalletStatus(NamedTuple):
    """Activate or deactivate a wallet."""

    operation: Operation
    wallet_id: str
    status: str


class BeginRefund(NamedTuple):
    """Begin to give a succeeded payment back."""

    operation: Operation
    payment_id: str
    refund_id: str


class CompletePayment(NamedTuple):
    """Write down what the settlement service decided. The claim decides here, not the lease."""

    payment_id: str
    claim: str
    verdict: Verdict


Command = (
    StartPayment
    | ConfirmPayment
    | ResendCode
    | CancelPayment
    | Deposit
    | SetWalletStatus
    | BeginRefund
    | CompletePayment
)


class NewInvoice(NamedTuple):
    """An invoice to enter."""

    id: str
    user_id: str
    amount: int
    currency: str
    merchant: str
    description: str | None
    reference: str | None
    expires_at: datetime
