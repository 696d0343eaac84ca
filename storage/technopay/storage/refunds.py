"""Reads the refunds of a payment, see scripts/shared/refunds.lua."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from technopay.engine.models import Refund
from technopay.engine.record import from_ms

STATUSES = frozenset({"pending", "done", "failed"})


def refunds_from(listed: str | None, failure: str, payment_id: str) -> list[Refund]:
    """Build the refunds of a payment; a debit given back has its failure as reason."""
    reason = failure or "requested_by_operator"
    return [
        Refund.trusted(
            id=f"ref_{name or payment_id[4:]}",
            amount=int(amount),
            at=from_ms(at),
            reason=reason,
            note=note or None,
            status=_known(status),
        )
        for name, amount, at, status, note in refund_parts(listed or "")
    ]


def refund_parts(listed: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Return the refunds in a field: name, amount, time, status and note of each."""
    if listed.startswith("["):
        yield from (("", each["amount"], each["at"], "done", "") for each in json.loads(listed))
        return
    for line in listed.split("\n") if listed else ():
        name, amount, at, status, *more = line.split(" ", 4)
        yield name, amount, at, status, json.loads(more[0])[0] if more else ""


def refunded_amount(refunds: Sequence[Refund]) -> int:
    return sum(refund.amount for refund in refunds if refund.status == "done")


def _known(status: str) -> Any:
    if status not in STATUSES:
        raise ValueError("there is no such status of a refund")
    return status
