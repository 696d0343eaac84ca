"""The ledger of the audit moves the amount with which a refund was begun."""

import pytest

from technopay.engine.models import Difference
from technopay.engine.values import JournalEntry
from technopay.storage.audit.effects import apply
from technopay.storage.audit.ledger import Ledger

Entry = tuple[str, str, dict[str, str]]
BOUGHT: list[Entry] = [
    ("user.created", "alice", {}),
    ("wallet.created", "wal_1", {"user": "alice", "currency": "EUR"}),
    ("wallet.deposited", "wal_1", {"amount": "1000", "balance": "1000"}),
    ("payment.started", "pay_1", {}),
    (
        "payment.processing",
        "pay_1",
        {
            "wallet": "wal_1", "amount": "-700", "balance": "300", "currency": "EUR",
            "global_period": "2026-01-01", "global_used": "700",
        },
    ),
    ("payment.succeeded", "pay_1", {}),
]  # fmt: skip
BEGUN = ("payment.refunding", "pay_1", {"amount": "400"})
FAILED: Entry = ("payment.refund_failed", "pay_1", {})
REFUNDED = ("payment.partially_refunded", "pay_1", {"wallet": "wal_1", "amount": "400", "balance": "700"})


@pytest.mark.parametrize(
    ("entries", "in_flight", "balance"),
    [([BEGUN], 400, 300), ([BEGUN, FAILED], 0, 300), ([BEGUN, FAILED, BEGUN, REFUNDED], 0, 700)],
)
def test_a_refund_moves_the_amount_that_was_begun(entries: list[Entry], in_flight: int, balance: int) -> None:
    ledger, found = ledger_of(entries)

    wallet = ledger.record("wallet", "wal_1")
    assert wallet
    assert (wallet["in_flight"], wallet["balance"]) == (in_flight, balance)
    assert [each.what for each in found] == []
    assert list(map(tuple, ledger.totals())) == [("EUR", 1_000, 1_000)]
    ledger.close()


@pytest.mark.parametrize("amount", ["-1", "0", "701"])
def test_a_refund_of_nothing_or_of_more_than_the_payment_is_reported(amount: str) -> None:
    ledger, found = ledger_of([("payment.refunding", "pay_1", {"amount": amount})])

    assert [(each.what, each.found) for each in found] == [("amount", amount)]
    ledger.close()


def ledger_of(entries: list[Entry]) -> tuple[Ledger, list[Difference]]:
    """Apply a purchase and these entries; return the ledger and its reports."""
    found: list[Difference] = []
    ledger = Ledger(found.append)
    version = 0
    for number, (entry_type, subject, fields) in enumerate([*BOUGHT, *entries], 1):
        version += entry_type.startswith("payment.")
        apply(ledger, JournalEntry(f"{number}-0", entry_type, subject, {**fields, "version": str(version)}))
    return ledger, found
