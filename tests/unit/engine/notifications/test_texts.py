import pytest
from support.fixtures.doubles import make_context

from technopay.engine.notifications.texts import message_text, money
from technopay.engine.values import Notification


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


NOTHING = "Nothing was deducted."
TEXTS = [
    ("confirmation.code", "", "123456 is your code to pay 12.34 EUR to bookshop. Give it to nobody."),
    ("payment.succeeded", "", "You paid 12.34 EUR to bookshop."),
    (
        "payment.failed",
        "settlement_failed",
        "Your payment of 12.34 EUR to bookshop could not be settled. The amount is back in your wallet.",
    ),
    (
        "payment.failed",
        "too_many_attempts",
        "Your payment of 12.34 EUR to bookshop failed after too many wrong codes. Nothing was deducted.",
    ),
    ("payment.refunded", "", "Your payment of 12.34 EUR to bookshop was refunded to your wallet."),
    (
        "payment.partially_refunded",
        "250",
        "2.50 EUR of your payment of 12.34 EUR to bookshop went back into your wallet.",
    ),
    (
        "payment.refused",
        "insufficient_funds",
        f"Your payment of 12.34 EUR to bookshop was refused: the wallet holds less than that. {NOTHING}",
    ),
    (
        "payment.refused",
        "daily_limit_exceeded",
        f"Your payment of 12.34 EUR to bookshop was refused: it would pass the limit for today. {NOTHING}",
    ),
    (
        "payment.canceled",
        "",
        "Your payment of 12.34 EUR to bookshop was canceled, because the invoice was withdrawn.",
    ),
    (
        "payment.expired",
        "",
        "The code for your payment of 12.34 EUR to bookshop has expired. Nothing was deducted.",
    ),
]


@pytest.mark.parametrize(("kind", "reason", "text"), TEXTS)
def test_every_message_names_amount_and_payee(kind: str, reason: str, text: str) -> None:
    context = make_context()
    notification = Notification("1-0", kind, 1, reason, context)

    assert message_text(notification, context, "123456") == text


def test_only_a_code_is_in_the_text_of_its_message() -> None:
    context = make_context()

    texts = [
        message_text(Notification("1-0", kind, 1, reason, context), context, "123456")
        for kind, reason, _ in TEXTS
    ]

    assert ["123456" in text for text in texts] == [True] + [False] * (len(TEXTS) - 1)
