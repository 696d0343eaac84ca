"""The kinds and the texts of messages, by journal entry."""

from functools import cache

from iso4217 import Currency

from technopay.engine.values import Notification, NotificationContext

MESSAGE_KINDS = {
    "payment.started": "confirmation.code",
    "payment.code_resent": "confirmation.code",
    "payment.succeeded": "payment.succeeded",
    "payment.failed": "payment.failed",
    "payment.refunded": "payment.refunded",
    "payment.partially_refunded": "payment.partially_refunded",
    "payment.refused": "payment.refused",
    "payment.canceled": "payment.canceled",
    "payment.expired": "payment.expired",
}
"""The kinds of messages, by the type of the entry; the loader passes them to the scripts.

Of canceled payments, only those of a void invoice cause a message, see scripts/shared/message.lua.
"""


def money(amount: int, currency: str) -> str:
    """Format an amount of minor units: 1234 EUR is '12.34 EUR'."""
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

ADDRESS_CHANGED = "user.address_changed"
ADDRESS_TEXTS = {
    "removed": "This address was removed from your account. Codes and messages about your payments are no "
    "longer sent to it. If you did not ask for this, contact us at once.",
    "added": "This address was added to your account. Codes and messages about your payments can be sent to "
    "it from now on. If you did not ask for this, contact us at once.",
}
"""The texts of messages to an address, by what happened to it; see scripts/users/update_user.lua."""


def message_text(notification: Notification, context: NotificationContext, code: str | None) -> str:
    """Return the text of a message; of a payment, always with amount and payee (PSD2 RTS, Article 5)."""
    if notification.kind == ADDRESS_CHANGED:
        return ADDRESS_TEXTS[notification.reason]
    what = f"{money(context.amount, context.currency)} to {context.merchant}"
    match notification.kind:
        case "confirmation.code":
            return f"{code} is your code to pay {what}. Give it to nobody."
        case "payment.succeeded":
            return f"You paid {what}."
        case "payment.failed" if notification.reason == "settlement_failed":
            return f"Your payment of {what} could not be settled. The amount is back in your wallet."
        case "payment.failed":
            return f"Your payment of {what} failed after too many wrong codes. Nothing was deducted."
        case "payment.refunded":
            return f"Your payment of {what} was refunded to your wallet."
        case "payment.partially_refunded":
            part = money(int(notification.reason), context.currency)
            return f"{part} of your payment of {what} went back into your wallet."
        case "payment.refused":
            reason = REFUSAL_REASONS[notification.reason]
            return f"Your payment of {what} was refused: {reason}. Nothing was deducted."
        case "payment.canceled":
            return f"Your payment of {what} was canceled, because the invoice was withdrawn."
        case _:
            return f"The code for your payment of {what} has expired. Nothing was deducted."
