from __future__ import annotations

import pytest
from support.stand_ins import make_payment

from technopay.engine.messages import message_kind, message_text, money
from technopay.engine.ports import JournalEntry


def entry(kind: str, **fields: str) -> JournalEntry:
    return JournalEntry("1-0", kind, fields)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1, "EUR", "0.01 EUR"),
        (10, "EUR", "0.10 EUR"),
        (100, "EUR", "1.00 EUR"),
        (123_456, "USD", "1234.56 USD"),
        (500, "JPY", "500 JPY"),
        (1_234, "KWD", "1.234 KWD"),
        (5, "KWD", "0.005 KWD"),
        (12_345, "CLF", "1.2345 CLF"),
        (2**53 - 1, "EUR", "90071992547409.91 EUR"),
    ],
)
def test_money_is_written_with_the_digits_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert money(amount, currency) == text


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (entry("payment.started", issue="1"), "confirmation.code"),
        (entry("payment.code_resent", issue="2"), "confirmation.code"),
        (entry("payment.succeeded"), "payment.succeeded"),
        (entry("payment.failed"), "payment.failed"),
        (entry("payment.refunded"), "payment.refunded"),
        (entry("payment.refused"), "payment.refused"),
        (entry("payment.expired"), "payment.expired"),
        (entry("payment.canceled", by="void"), "payment.canceled"),
        (entry("payment.canceled", by="user"), None),
        (entry("payment.canceled", by="restart"), None),
        (entry("payment.processing"), None),
        (entry("payment.refunding"), None),
        (entry("payment.set_aside"), None),
        (entry("payment.resolved"), None),
        (entry("wallet.deposited"), None),
        (entry("user.blocked"), None),
    ],
)
def test_what_users_are_told_is_decided_by_what_happened(what: JournalEntry, kind: str | None) -> None:
    assert message_kind(what) == kind


NOTHING = "Nothing was deducted."
SAID = [
    ("confirmation.code", {}, "123456 is your code to pay 12.34 EUR to bookshop. Give it to nobody."),
    ("payment.succeeded", {}, "You paid 12.34 EUR to bookshop."),
    (
        "payment.failed",
        {"reason": "settlement_failed"},
        "Your payment of 12.34 EUR to bookshop could not be settled. The amount is back in your wallet.",
    ),
    (
        "payment.failed",
        {"reason": "too_many_attempts"},
        "Your payment of 12.34 EUR to bookshop failed after too many wrong codes. Nothing was deducted.",
    ),
    ("payment.refunded", {}, "Your payment of 12.34 EUR to bookshop was refunded to your wallet."),
    (
        "payment.refused",
        {"reason": "insufficient_funds"},
        f"Your payment of 12.34 EUR to bookshop was refused: the wallet holds less than that. {NOTHING}",
    ),
    (
        "payment.refused",
        {"reason": "daily_limit_exceeded"},
        f"Your payment of 12.34 EUR to bookshop was refused: it would pass the limit for today. {NOTHING}",
    ),
    (
        "payment.canceled",
        {"by": "void"},
        "Your payment of 12.34 EUR to bookshop was canceled, because the invoice was withdrawn.",
    ),
    (
        "payment.expired",
        {},
        "The code for your payment of 12.34 EUR to bookshop has expired. Nothing was deducted.",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "text"), SAID)
def test_every_message_names_amount_and_payee(kind: str, fields: dict[str, str], text: str) -> None:
    assert message_text(kind, make_payment(), entry(kind, **fields), "123456") == text
