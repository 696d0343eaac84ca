"""Our own journal: what the server acknowledged, to be held against what it says in the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RANK = {"requires_confirmation": 0, "processing": 1}
"""How far a payment is; from what is final there is no way but to a refund by an operator."""

FINAL_RANK = 2

NEXT = {
    "requires_confirmation": None,
    "processing": {"processing", "succeeded", "failed", "refunding", "refunded"},
    "succeeded": {"succeeded", "refunding", "refunded"},
}
"""What may become of a payment of which a status was told; None: anything. What else is final stays."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a payment: the furthest of it."""

    status: str
    wallet_id: str
    invoice_id: str
    amount: int
    paid_at: str | None
    balance_after: int | None


class Journal:
    """Keeps what was acknowledged, and notices at once what cannot be."""

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}
        self._broken: dict[str, None] = {}
        self._refusals: dict[str, str] = {}
        self._unrefused: Counter[str] = Counter()
        """Confirms of a payment that may have taken money."""
        self.acknowledged = 0

    @property
    def payments(self) -> Mapping[str, Told]:
        """What was told of each payment."""
        return self._told

    @property
    def broken(self) -> Iterator[str]:
        """What was told that cannot be."""
        return iter(self._broken)

    @property
    def refusals(self) -> Mapping[str, str]:
        """By payment whose confirms were all refused, why the last one was: no money may have been taken."""
        return {each: code for each, code in self._refusals.items() if not self._unrefused[each]}

    def confirm(self, payment_id: str) -> None:
        """Keep that a payment is about to be confirmed."""
        self._unrefused[payment_id] += 1

    def refuse(self, payment_id: str, code: str) -> None:
        """Keep that a confirm was refused."""
        self._unrefused[payment_id] -= 1
        self._refusals[payment_id] = code

    def complain(self, line: str) -> None:
        """Keep what breaks an invariant; the line begins with its name."""
        self._broken[line] = None

    def hear(self, body: Mapping[str, Any]) -> None:
        """Keep what an answer says of a payment, be it the answer or part of a refusal."""
        payment = body.get("payment", body)
        if not isinstance(payment, Mapping) or "wallet_id" not in payment:
            return
        self.acknowledged += 1
        self._look(payment)
        told = told_by(payment)
        before = self._told.get(payment["id"])
        # Answers overtake one another: an older one tells nothing new.
        if before is None or _rank(told.status) >= _rank(before.status):
            self._told[payment["id"]] = told
        if before is not None:
            older, newer = sorted((before, told), key=lambda each: _rank(each.status))
            self._broken.update(dict.fromkeys(differences(payment["id"], older, newer)))

    def _look(self, payment: Mapping[str, Any]) -> None:
        """Notice a debit that is wrong in itself."""
        if payment["paid_at"] is None:
            return
        before, after = payment["balance_before"], payment["balance_after"]
        if after != before - payment["amount"] or after < 0:
            self._broken[
                f"balance_is_sum_of_entries: {payment['id']} took {payment['amount']} "
                f"and the balance went from {before} to {after}"
            ] = None
        for limit in payment["limits"]:
            if limit["limit"] is not None and limit["used"] > limit["limit"]:
                self._broken[
                    f"limit_is_sum_of_debits: {payment['id']} was paid with {limit['used']} used "
                    f"of a limit of {limit['limit']}"
                ] = None


def told_by(payment: Mapping[str, Any]) -> Told:
    """Answer what the JSON of a payment tells."""
    # Millions of payments have a few statuses and some wallets between them.
    return Told(
        sys.intern(payment["status"]),
        sys.intern(payment["wallet_id"]),
        payment["invoice_id"],
        payment["amount"],
        payment["paid_at"],
        payment["balance_after"],
    )


def differences(payment_id: str, told: Told, found: Told) -> Iterator[str]:
    """Answer what of a payment is no longer as it was told."""
    allowed = NEXT.get(told.status, {told.status})
    if allowed is not None and found.status not in allowed:
        yield f"acknowledged_is_kept: {payment_id} was told {told.status} and is {found.status}"
    for name in ("wallet_id", "invoice_id", "amount"):
        if getattr(told, name) != getattr(found, name):
            yield f"acknowledged_is_kept: {payment_id} was told {name} {getattr(told, name)}, then another"
    for name in ("paid_at", "balance_after"):
        if getattr(told, name) not in (None, getattr(found, name)):
            yield f"acknowledged_is_kept: {payment_id} was told {name} {getattr(told, name)}, then another"


def _rank(status: str) -> int:
    return RANK.get(status, FINAL_RANK)
