"""The acknowledgements of a load test: no later reply may contradict one."""

from typing import Any

import pytest
from support.fixtures.load import DEPOSIT, limit_json, payment_json

from technopay.cli.load.acknowledgements import Acknowledgements

WAYS = [
    ("requires_confirmation", "processing"), ("requires_confirmation", "succeeded"),
    ("requires_confirmation", "canceled"), ("requires_confirmation", "failed"),
    ("requires_confirmation", "expired"), ("processing", "succeeded"), ("processing", "failed"),
    ("succeeded", "refunding"), ("succeeded", "refunded"),
]  # fmt: skip
NO_WAYS = [
    ("canceled", "succeeded"), ("canceled", "processing"), ("expired", "succeeded"), ("failed", "succeeded"),
    ("succeeded", "failed"), ("succeeded", "canceled"), ("failed", "canceled"), ("processing", "canceled"),
]  # fmt: skip


def violations(*payments: dict[str, Any]) -> list[str]:
    """Add payments, one after the other; return the violations."""
    kept = Acknowledgements()
    for payment in payments:
        kept.add(payment)
    assert kept.count == len(payments)
    return list(kept.violations)


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_replies_may_overtake_one_another_and_the_furthest_is_kept(before: str, after: str) -> None:
    # A load test makes no refund by an operator.
    for statuses in ((before, after), (after, before))[: 1 if before == "succeeded" else 2]:
        kept = Acknowledgements()
        for status in statuses:
            kept.add(payment_json(status))

        assert list(kept.violations) == []
        assert kept.payments["pay_1"].status == after


@pytest.mark.parametrize(("before", "after"), NO_WAYS)
def test_a_final_payment_keeps_its_status(before: str, after: str) -> None:
    unpaid = {"paid_at": None, "balance_after": None}
    (line,) = violations(payment_json(before, **unpaid), payment_json(after, **unpaid))

    earlier, later = (after, before) if (before, after) == ("canceled", "processing") else (before, after)
    assert line == f"acknowledged_is_kept: pay_1 was acknowledged as {earlier} and is {later}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wallet_id", "wal_bob"), ("invoice_id", "inv_2"), ("amount", 101),
        ("paid_at", "2026-11-23T12:00:00.001Z"), ("balance_after", DEPOSIT - 99), ("paid_at", None),
    ],
)  # fmt: skip
def test_an_acknowledged_field_does_not_change(name: str, value: Any) -> None:
    changed = payment_json(**{name: value})

    lines = violations(payment_json(), changed)

    assert any(line.startswith(f"acknowledged_is_kept: pay_1 was acknowledged with {name} ") for line in lines)


@pytest.mark.parametrize(
    ("before", "after"),
    [(DEPOSIT, DEPOSIT - 200), (DEPOSIT, DEPOSIT), (50, -50)],
    ids=["twice", "not at all", "below zero"],
)
def test_a_debit_takes_the_amount_once_and_never_more_than_there_is(before: int, after: int) -> None:
    debited = payment_json(balance_before=before, balance_after=after)
    line = f"balance_is_sum_of_entries: pay_1 took 100 and the balance went from {before} to {after}"

    assert violations(debited) == violations(debited, debited) == [line], "a repeated violation is one"


def test_a_debit_may_use_the_last_of_a_wallet_and_of_a_limit_and_no_more() -> None:
    limits = [limit_json(limit=100, used=100), limit_json(limit=None, used=100)]
    assert violations(payment_json(balance_before=100, balance_after=0, limits=limits)) == []

    assert violations(payment_json(limits=[limit_json(limit=100, used=101)])) == [
        "limit_is_sum_of_debits: pay_1 was paid with 101 used of a limit of 100"
    ]


def test_the_payment_in_a_refusal_is_kept_too() -> None:
    kept = Acknowledgements()
    kept.add({"code": "payment_not_confirmable", "payment": payment_json("canceled")})

    assert kept.payments["pay_1"].status == "canceled"


@pytest.mark.parametrize("body", [{}, {"id": "inv_1", "status": "open"}, {"payment": None}, {"data": []}])
def test_a_body_without_a_payment_is_ignored(body: dict[str, Any]) -> None:
    kept = Acknowledgements()
    kept.add(body)

    assert (kept.count, dict(kept.payments)) == (0, {})
