"""The words in which users are told."""

from __future__ import annotations

from functools import cache

from iso4217 import Currency

from technopay.engine.ports import Notice, Parcel


def money(amount: int, currency: str) -> str:
    """Write an amount of minor units as people do: 1234 EUR as '12.34 EUR'."""
    exponent = _exponent(currency)
    if exponent == 0:
        return f"{amount} {currency}"
    whole, part = divmod(amount, 10**exponent)
    return f"{whole}.{part:0{exponent}d} {currency}"


@cache
def _exponent(currency: str) -> int:
    return Currency(currency).exponent or 0


REFUSAL_REASONS = {
    "insufficient_funds": "the wallet holds less than that",
    "daily_limit_exceeded": "it would pass the limit for today",
}


def message_text(notice: Notice, parcel: Parcel, code: str | None) -> str:
    """Write the text of a message. Amount and payee are always in it (PSD2 RTS, Article 5)."""
    what = f"{money(parcel.amount, parcel.currency)} to {parcel.merchant}"
    match notice.kind:
        case "confirmation.code":
            return f"{code} is your code to pay {what}. Give it to nobody."
        case "payment.succeeded":
            return f"You paid {what}."
        case "payment.failed" if notice.reason == "settlement_failed":
            return f"Your payment of {what} could not be settled. The amount is back in your wallet."
        case "payment.failed":
            return f"Your payment of {what} failed after too many wrong codes. Nothing was deducted."
        case "payment.refunded":
            return f"Your payment of {what} was refunded to your wallet."
        case "payment.refused":
            reason = REFUSAL_REASONS[notice.reason]
            return f"Your payment of {what} was refused: {reason}. Nothing was deducted."
        case "payment.canceled":
            return f"Your payment of {what} was canceled, because the invoice was withdrawn."
        case _:
            return f"The code for your payment of {what} has expired. Nothing was deducted."
