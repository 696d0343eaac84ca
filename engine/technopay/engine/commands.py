"""Every change of the store, as data; the reads are in technopay.engine.reads.

The name of a command is the name of its script in snake case, its fields are the arguments of the script by
name, and its type parameter is what the script returns. A field that is a NamedTuple stands for its own fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from technopay.engine.limits import GLOBAL_DAY
from technopay.engine.models import Invoice, Limit, Message, OperatorPayment, Payment, User, Wallet
from technopay.engine.values import (
    Due,
    Evidence,
    FailedDelivery,
    Fate,
    HeldClaim,
    News,
    Operation,
    Verdict,
)

Value = TypeVar("Value", covariant=True)


@dataclass(frozen=True, slots=True)
class Command(Generic[Value]):
    """One atomic step of the store, which returns a value."""


# Commands of a wallet's actor, which need a lease.


@dataclass(frozen=True, slots=True)
class StartPayment(Command[Payment]):
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


@dataclass(frozen=True, slots=True)
class ConfirmPayment(Command[Payment]):
    """Check the evidence of the second step and take the money."""

    operation_id: str
    payment_id: str
    user_id: str
    evidence: Evidence
    confirms_per_minute: int | None = None
    failures_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class ResendCode(Command[Payment]):
    """Replace the code of a payment by that of this version."""

    operation: Operation
    payment_id: str
    user_id: str
    code_version: int
    code_lifetime_ms: int
    codes_per_hour: int | None = None
    failures_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class CancelPayment(Command[Payment]):
    operation: Operation
    payment_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class ChangeBalance(Command[Wallet]):
    """Deposit, withdraw or adjust money. details: `entry`, the one with a deposit's reference."""

    operation: Operation
    wallet_id: str
    amount: int
    """Signed."""
    kind: Literal["deposited", "withdrawn", "adjusted"] = "deposited"
    reference: str | None = None
    note: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class SetWalletStatus(Command[Wallet]):
    operation: Operation
    wallet_id: str
    status: str


@dataclass(frozen=True, slots=True)
class BeginRefund(Command[OperatorPayment]):
    operation: Operation
    payment_id: str
    refund_id: str
    amount: int | None = None
    """None for all that is left."""
    note: str | None = None
    by: str | None = None


# Payments after the debit, which need the claim, not the lease.


@dataclass(frozen=True, slots=True)
class CompletePayment(Command[OperatorPayment]):
    """Record the verdict of the settlement service."""

    payment_id: str
    claim: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SetAside(Command[None]):
    """Set a payment aside until the next request to its service. 'fenced': an old claim."""

    payment_id: str
    claim: str
    interval_ms: int


@dataclass(frozen=True, slots=True)
class ResolvePayment(Command[OperatorPayment]):
    operation: Operation
    payment_id: str
    outcome: str
    note: str
    by: str


@dataclass(frozen=True, slots=True)
class RenewClaims(Command[list[bool]]):
    """Renew claims or give them up; returns which were current."""

    partition: int
    keep: bool
    claims: Sequence[HeldClaim]


@dataclass(frozen=True, slots=True)
class TakeDue(Command[Due]):
    partition: int
    limit: int


# Users, wallets, invoices and limits.


@dataclass(frozen=True, slots=True)
class CreateUser(Command[User]):
    operation: Operation
    user_id: str
    email: str | None
    phone: str | None


@dataclass(frozen=True, slots=True)
class SetUserStatus(Command[User]):
    operation: Operation
    user_id: str
    status: str
    failures_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateUser(Command[User]):
    """Change the addresses of a user that are to be set; None removes one."""

    operation: Operation
    user_id: str
    sets_email: bool
    email: str | None
    sets_phone: bool
    phone: str | None
    failures_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class UnlockUser(Command[User]):
    operation: Operation
    user_id: str
    failures_per_day: int | None


@dataclass(frozen=True, slots=True)
class CreateWallet(Command[Wallet]):
    operation: Operation
    wallet_id: str
    user_id: str
    currency: str


@dataclass(frozen=True, slots=True)
class CreateInvoice(Command[Invoice]):
    """Create an invoice. 'expiry_past': it has expired already."""

    operation: Operation
    invoice_id: str
    user_id: str
    amount: int
    currency: str
    merchant: str
    description: str | None
    reference: str | None
    expires_at: datetime
    metadata: str = ""
    """As JSON; '' for none."""
    digest: str = ""
    """The digest of the reference, which the store computes."""


@dataclass(frozen=True, slots=True)
class VoidInvoice(Command[Invoice]):
    """Withdraw an invoice. details: the blocking `payment`, if there is one."""

    operation: Operation
    invoice_id: str


@dataclass(frozen=True, slots=True)
class SetLimit(Command[Limit]):
    operation: Operation
    currency: str
    amount: int | None
    rule: str = GLOBAL_DAY.name
    others: int = 0
    """What other partitions used; the store adds it."""


@dataclass(frozen=True, slots=True)
class FinishDue(Command[None]):
    """Finish a member of the agenda whose work spans partitions."""

    partition: int
    member: str


@dataclass(frozen=True, slots=True)
class AnnounceEngine(Command[Sequence[str]]):
    """Announce an engine to the others on the store, or take it off; returns all of them."""

    name: str
    stays: bool


# Messages.


@dataclass(frozen=True, slots=True)
class ClaimRelay(Command[News]):
    """Claim the relay and read its next entries. 'nothing': there are none; 'busy': another process has it."""

    partition: int
    owner: str
    limit: int


@dataclass(frozen=True, slots=True)
class RecordDeliveries(Command[None]):
    """Move the relay on and record the failed deliveries. 'fenced': an old claim."""

    partition: int
    claim: str
    cursor: str
    retry_ms: int
    failed: Sequence[FailedDelivery]


@dataclass(frozen=True, slots=True)
class RecordAttempt(Command[None]):
    """Record another attempt at a message. 'fenced': an old claim."""

    partition: int
    entry_id: str
    claim: str
    fate: Fate
    error: str
    retry_ms: int


@dataclass(frozen=True, slots=True)
class SendMessageAgain(Command[Message]):
    """Try a dead message again."""

    operation: Operation
    partition: int
    entry_id: str


@dataclass(frozen=True, slots=True)
class BindSecret(Command[str]):
    """Add an engine's keys to those of the store; 'foreign': it knows none of them.

    Returns the id of the key of challenges that name none.
    """

    key_ids: Sequence[str]
