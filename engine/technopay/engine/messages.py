"""What users are told: which entries of the journal become messages, and their words."""

from __future__ import annotations

from iso4217 import Currency

from technopay.engine.models import Payment
from technopay.engine.ports import JournalEntry


def message_kind(entry: JournalEntry) -> str | None:
    """Answer the kind of message that an entry of the journal asks for, or None."""
    if entry.type in ("payment.started", "payment.code_resent"):
        return "confirmation.code"
    if entry.type == "payment.canceled":
        # Users know that they canceled; they do not know that the merchant withdrew the invoice.
        return entry.type if entry.fields.get("by") == "void" else None
    if entry.type in (
        "payment.succeeded", "payment.failed", "payment.refunded", "payment.refused", "payment.expired"
    ):  # fmt: skip
        return entry.type
    return None


def money(amount: int, currency: str) -> str:
    """Write an amount of minor units as people do: 1234 EUR as '12.34 EUR'."""
    exponent = Currency(currency).exponent or 0
    if exponent == 0:
        return f"{amount} {currency}"
    whole, part = divmod(amount, 10**exponent)
    return f"{whole}.{part:0{exponent}d} {currency}"


REFUSAL_REASONS = {
    "insufficient_funds": "the wallet holds less than that",
    "daily_limit_exceeded": "it would pass the limit for today",
}


def message_text(kind: str, payment: Payment, entry: JournalEntry, code: str | None) -> str:
    """Write the text of a message. Amount and payee are always in it (PSD2 RTS, Article 5)."""
    what = f"{money(payment.amount, payment.currency)} to {payment.merchant}"
    match kind:
        case "confirmation.code":
            return f"{code} is your code to pay {what}. Give it to nobody."
        case "payment.succeeded":
            return f"You paid {what}."
        case "payment.failed" if entry.fields.get("reason") == "settlement_failed":
            return f"Your payment of {what} could not be settled. The amount is back in your wallet."
        case "payment.failed":
            return f"Your payment of {what} failed after too many wrong codes. Nothing was deducted."
        case "payment.refunded":
            return f"Your payment of {what} was refunded to your wallet."
        case "payment.refused":
            reason = REFUSAL_REASONS[entry.fields["reason"]]
            return f"Your payment of {what} was refused: {reason}. Nothing was deducted."
        case "payment.canceled":
            return f"Your payment of {what} was canceled, because the invoice was withdrawn."
        case _:
            return f"The code for your payment of {what} has expired. Nothing was deducted."
