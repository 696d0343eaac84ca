"""The ledger of the audit: what moves, and what no script writes is reported."""

from collections import Counter

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


PERIOD = {"global_period": "2026-01-01"}
STARTED: Entry = ("payment.started", "pay_2", {})
SLICE = {"rule": "global", "period": "2026-01-01", "partition": "01", "granted": "10", "limit": "15"}


def balance_changed(change: str, amount: str, balance: str) -> list[Entry]:
    return [(f"wallet.{change}", "wal_1", {"amount": amount, "balance": balance})]


def debited(amount: str, balance: str, used: str, **more: str) -> list[Entry]:
    fields = {"wallet": "wal_1", "amount": amount, "balance": balance, "currency": "EUR", "global_used": used}
    return [STARTED, ("payment.processing", "pay_2", {**fields, **PERIOD, **more})]


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([("payment.vanished", "pay_1", {})], "type"),
        ([("user.created", "alice", {})], "entry"),
        ([("user.unlocked", "nobody", {})], "user"),
        (balance_changed("deposited", "ten", "310"), "entry"),
        (balance_changed("deposited", "-5", "295"), "amount"),
        (balance_changed("withdrawn", "5", "305"), "amount"),
        (balance_changed("adjusted", "0", "300"), "amount"),
        (debited("5", "305", "695"), "amount"),
        (debited("-100", "200", "900"), "global_used"),
        (debited("-100", "200", "800", global_limit="750"), "global_used"),
        (debited("-100", "200", "800", global_granted="760", global_returned="10"), "used"),
        ([("limit.granted", "EUR", {**SLICE, "out": "20"})], "granted in all"),
        ([("limit.granted", "EUR", {**SLICE, "out": "15"})] * 2, "granted"),
        (
            [
                *debited("-100", "200", "800"),
                (
                    "payment.failed", "pay_2",
                    {"wallet": "wal_1", "amount": "100", "balance": "300", "reason": "settlement_failed"},
                ),
            ],
            "period of global:EUR",
        ),
        ([BEGUN, ("payment.refunded", *REFUNDED[1:])], "left"),
        (
            [
                ("payment.refunding", "pay_1", {"amount": "700"}),
                (*REFUNDED[:2], {"wallet": "wal_1", "amount": "700", "balance": "1000"}),
            ],
            "left",
        ),
    ],
)  # fmt: skip
def test_what_no_script_writes_is_reported(entries: list[Entry], what: str) -> None:
    ledger, found = ledger_of(entries)

    assert [each.what for each in found] == [what]
    ledger.close()


def ledger_of(entries: list[Entry]) -> tuple[Ledger, list[Difference]]:
    """Apply a purchase and these entries; return the ledger and its reports."""
    found: list[Difference] = []
    ledger = Ledger(found.append)
    versions: Counter[str] = Counter()
    for number, (entry_type, subject, fields) in enumerate([*BOUGHT, *entries], 1):
        versions[subject] += 1
        version = str(versions[subject])
        apply(ledger, JournalEntry(f"{number}-0", entry_type, subject, {**fields, "version": version}))
    return ledger, found
