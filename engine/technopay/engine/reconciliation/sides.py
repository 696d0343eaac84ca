"""How a payment or a refund stands here, and which outcomes of a settlement file fit that."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from technopay.engine.models import OperatorPayment
from technopay.engine.reconciliation.book import Row
from technopay.engine.reconciliation.models import Ours

FITTING: Mapping[str, Collection[str]] = {
    "settled": ("settled",),
    "given_back": ("declined", "called_off"),
    "processing": ("pending",),
    "unsent": (),
    "reversed": ("reversed",),
    "declined": ("declined",),
    "pending": ("pending",),
}
"""The outcomes of a file that fit each outcome here."""
SETTLED = dict.fromkeys(("succeeded", "refunding", "refunded"), "settled")
REFUND_OUTCOMES = {"done": "reversed", "failed": "declined", "pending": "pending"}

Decision = Literal["settled", "refund"]
DECISIONS: Mapping[tuple[str, str], Decision] = {
    ("processing", "settled"): "settled",
    ("processing", "declined"): "refund",
    ("processing", "called_off"): "refund",
    ("pending", "reversed"): "refund",
    ("pending", "declined"): "settled",
}
"""The outcome of `resolve_payment`, by the outcome here and that of the file."""


class Standing(NamedTuple):
    """Our side, and when the settlement service ended it: None if it did not, or an operator did."""

    ours: Ours
    ended_at: datetime | None


def standing_of(row: Row, payment: OperatorPayment) -> Standing:
    """Return our side of a row about this payment, or about a refund of it."""
    return payment_standing(payment) if row.key == payment.id else refund_standing(row, payment)


def payment_standing(payment: OperatorPayment) -> Standing:
    outcome = SETTLED.get(payment.status, "unsent")
    ended_at = payment.settled_at
    if payment.status == "processing":
        outcome = "processing"
    elif payment.failure is not None and payment.failure.code == "settlement_failed":
        outcome, ended_at = "given_back", payment.refunds[0].at
    is_waiting = outcome == "processing" and payment.set_aside
    return _standing(payment, payment.amount, outcome, ended_at, is_waiting=is_waiting)


def refund_standing(row: Row, payment: OperatorPayment) -> Standing:
    refund = next((each for each in payment.refunds if each.id == row.key), None)
    if refund is None:
        # Of refunds that failed, a payment may list the last ones only.
        return _standing(payment, row.asked or 0, "declined", None, is_waiting=False)
    is_pending = refund.status == "pending"
    ended_at = None if is_pending else refund.at
    is_waiting = is_pending and payment.set_aside
    return _standing(payment, refund.amount, REFUND_OUTCOMES[refund.status], ended_at, is_waiting=is_waiting)


def _standing(
    payment: OperatorPayment, amount: int, outcome: Any, ended_at: datetime | None, *, is_waiting: bool
) -> Standing:
    resolution = payment.resolution
    # A decision and its effect are one step of the store, so they have one time.
    is_resolved = ended_at is not None and resolution is not None and resolution.at == ended_at
    ours = Ours(
        amount=amount,
        currency=payment.currency,
        outcome=outcome,
        set_aside=is_waiting,
        resolved=is_resolved,
    )
    return Standing(ours, None if is_resolved else ended_at)


def has_terms_of(ours: Ours, row: Row) -> bool:
    return (ours.amount, ours.currency) == (row.amount, row.currency)


def is_equal(ours: Ours, row: Row) -> bool:
    return has_terms_of(ours, row) and row.outcome in FITTING[ours.outcome]


def decision_for(ours: Ours, row: Row) -> Decision | None:
    """Return what a row decides of a payment that was set aside; None if it decides nothing."""
    return DECISIONS.get((ours.outcome, row.outcome)) if ours.set_aside and has_terms_of(ours, row) else None
