"""Everything that the server acknowledged, to compare with its state in the end."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from technopay.engine import Payment

RANK = {"requires_confirmation": 0, "processing": 1}
"""The progress of a payment; only a refund by an operator changes a final one."""

FINAL_RANK = 2

NEXT = {
    "requires_confirmation": None,
    "processing": {"processing", "succeeded", "failed", "refunding", "refunded"},
    "succeeded": {"succeeded", "refunding", "refunded"},
}
"""The statuses that may follow one; None: any. Every other status stays."""


@dataclass(frozen=True, slots=True)
class KnownPayment:
    """The part of a payment that the verdict compares."""

    status: str
    wallet_id: str
    invoice_id: str
    amount: int
    paid_at: datetime | None
    balance_after: int | None

    @classmethod
    def of(cls, payment: Payment) -> Self:
        return cls(
            payment.status,
            sys.intern(payment.wallet_id),  # millions of payments have some wallets between them
            payment.invoice_id,
            payment.amount,
            payment.paid_at,
            payment.balance_after,
        )

    @property
    def rank(self) -> int:
        return RANK.get(self.status, FINAL_RANK)


class Acknowledgements:
    """Keeps the furthest state of each payment, and notices contradictions at once."""

    def __init__(self) -> None:
        self.payments: dict[str, KnownPayment] = {}
        self.violations: dict[str, None] = {}
        """In their order; each line begins with the name of the invariant."""
        self._refusals: dict[str, str] = {}
        self._unrefused: Counter[str] = Counter()
        """Confirms of a payment that may have taken money."""
        self.count = 0

    @property
    def refusals(self) -> Mapping[str, str]:
        """The last refusal of each payment whose confirms were all refused: no money may have been taken."""
        return {each: code for each, code in self._refusals.items() if not self._unrefused[each]}

    def confirm(self, payment_id: str) -> None:
        """Note a confirm that is about to be sent."""
        self._unrefused[payment_id] += 1

    def refuse(self, payment_id: str, code: str) -> None:
        """Note that a confirm was refused."""
        self._unrefused[payment_id] -= 1
        self._refusals[payment_id] = code

    def report_violation(self, line: str) -> None:
        self.violations[line] = None

    def add(self, body: Mapping[str, Any]) -> None:
        """Keep the payment in a reply, be it the resource or part of a refusal."""
        found = body.get("payment", body)
        if not isinstance(found, Mapping) or "wallet_id" not in found:
            return
        payment = Payment.model_validate(found, extra="ignore")
        self.count += 1
        self._check_debit(payment)
        known, before = KnownPayment.of(payment), self.payments.get(payment.id)
        # Replies overtake one another: an older one has nothing new.
        if before is None or known.rank >= before.rank:
            self.payments[payment.id] = known
        if before is not None:
            older, newer = sorted((before, known), key=lambda each: each.rank)
            self.violations.update(dict.fromkeys(differences(payment.id, older, newer)))

    def _check_debit(self, payment: Payment) -> None:
        if payment.paid_at is None:
            return
        before, after = payment.balance_before, payment.balance_after
        if before is None or after is None or after != before - payment.amount or after < 0:
            self.report_violation(
                f"balance_is_sum_of_entries: {payment.id} took {payment.amount} "
                f"and the balance went from {before} to {after}"
            )
        for limit in payment.limits:
            if limit.limit is not None and limit.used > limit.limit:
                self.report_violation(
                    f"limit_is_sum_of_debits: {payment.id} was paid with {limit.used} used "
                    f"of a limit of {limit.limit}"
                )


def differences(payment_id: str, acknowledged: KnownPayment, found: KnownPayment) -> Iterator[str]:
    """Return the fields of a payment that are not as acknowledged."""
    allowed = NEXT.get(acknowledged.status, {acknowledged.status})
    if allowed is not None and found.status not in allowed:
        before = acknowledged.status
        yield f"acknowledged_is_kept: {payment_id} was acknowledged as {before} and is {found.status}"
    for name in ("wallet_id", "invoice_id", "amount", "paid_at", "balance_after"):
        value = getattr(acknowledged, name)
        if value is not None and value != getattr(found, name):
            yield (
                f"acknowledged_is_kept: {payment_id} was acknowledged with {name} {value}, "
                f"and has {getattr(found, name)}"
            )
