"""Everything that can go wrong, as one tree.

TechnopayError                 every error of the engine; has `code` and `retryable`
├── Refusal                    a rule refused the call; nothing changed (exceptions: see the class)
│   ├── UserNotFound, WalletNotFound, InvoiceNotFound, PaymentNotFound, MessageNotFound,
│   │   WebhookNotFound, DeliveryNotFound
│   │                          it does not exist, or belongs to another user
│   ├── UserBlocked, WalletInactive, UserExists, ReferenceUsed
│   ├── InvoiceAlreadyPaid, InvoiceNotPayable, InvoiceNotVoidable, PaymentInProgress,
│   │   PaymentNotConfirmable, PaymentNotCancelable, PaymentNotRefundable, PaymentNotResolvable,
│   │   RefundInProgress
│   ├── InvoiceExpired, ConfirmationExpired
│   ├── ConfirmationInvalid    costs an attempt
│   ├── InsufficientFunds, DailyLimitExceeded, RefundTooLarge
│   ├── SettlementFailed       the debit was given back
│   ├── CurrencyMismatch, BalanceTooLarge, NoChannel, RateLimited, IdempotencyKeyReused
│   ├── EventPositionUnknown   the store lost the event to resume after
│   └── ValidationFailed       an argument is invalid
└── Fault                      an error without a refusal; a retry may help
    ├── WalletBusy             another process works on the wallet; nothing happened
    ├── Overloaded             a bound is reached, or it took too long to begin; nothing happened
    ├── StoreUnavailable       nothing happened
    ├── ArchiveUnavailable     only history needs it; nothing happened
    ├── OutcomeUnknown         the store did not reply in time; retry with the same key or id
    ├── EngineClosed           the engine is not running, or drains; nothing happened
    └── InternalError          a defect of technopay
StoreUnfit                     the store must not be used (configuration, durability, lost data)
└── StoreUninitialised         it is new, or it lost its data
"""

import copyreg
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from technopay.engine.models import Entry, Limit, Payment


class TechnopayError(Exception):
    """The root of every error of the engine."""

    code: ClassVar[str] = "internal_error"
    """Stable name of the error, the same in the library, over HTTP and in the scripts."""

    retryable: bool = False
    """Whether a retry of the same call can succeed."""

    message: ClassVar[str] = "An error occurred."

    request_id: str | None = None
    """The id of the request, if it was sent over HTTP."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the attributes: constructors of subclasses take other arguments."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class Refusal(TechnopayError):
    """A rule refused the call. The attributes have the details; those that do not apply are None."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.payment: Payment | None = details.get("payment")
        self.invoice_id: str | None = details.get("invoice_id")
        self.limit: Limit | None = details.get("limit")
        self.required: int | None = details.get("required")
        self.available: int | None = details.get("available")
        self.refundable: int | None = details.get("refundable")
        self.entry: Entry | None = details.get("entry")
        self.attempts_remaining: int | None = details.get("attempts_remaining")
        self.retry_after_s: float | None = details.get("retry_after_s")
        self.locked_until: datetime | None = details.get("locked_until")
        self.replayed: bool = details.get("replayed", False)


class UserNotFound(Refusal):
    code = "user_not_found"
    message = "There is no such user."


class WalletNotFound(Refusal):
    code = "wallet_not_found"
    message = "There is no such wallet."


class InvoiceNotFound(Refusal):
    code = "invoice_not_found"
    message = "There is no such invoice."


class PaymentNotFound(Refusal):
    code = "payment_not_found"
    message = "There is no such payment."


class MessageNotFound(Refusal):
    code = "not_found"
    message = "There is no such message."


class WebhookNotFound(Refusal):
    code = "webhook_not_found"
    message = "There is no such webhook."


class DeliveryNotFound(Refusal):
    code = "delivery_not_found"
    message = "The webhook has no such delivery."


class UserBlocked(Refusal):
    code = "user_blocked"
    message = "The user is blocked."


class WalletInactive(Refusal):
    code = "wallet_inactive"
    message = "The wallet is inactive."


class UserExists(Refusal):
    code = "user_exists"
    message = "A user with this id exists already."


class ReferenceUsed(Refusal):
    code = "reference_used"
    message = "The merchant has an invoice with this reference already."

    def __init__(self, message: str | None = None, **details: Any) -> None:
        if message is None and details.get("entry"):
            message = "The wallet has a deposit of another amount with this reference already."
        super().__init__(message, **details)


class InvoiceAlreadyPaid(Refusal):
    code = "invoice_already_paid"
    message = "The invoice is paid already."


class InvoiceNotPayable(Refusal):
    code = "invoice_not_payable"
    message = "The invoice was voided and cannot be paid."


class InvoiceNotVoidable(Refusal):
    code = "invoice_not_voidable"
    message = "The invoice is paid or being paid and cannot be voided."


class PaymentInProgress(Refusal):
    code = "payment_in_progress"
    message = "Another payment of this invoice is being processed."


class PaymentNotConfirmable(Refusal):
    code = "payment_not_confirmable"
    message = "The payment does not wait for a confirmation."


class PaymentNotCancelable(Refusal):
    code = "payment_not_cancelable"
    message = "The payment cannot be canceled any more."


class PaymentNotRefundable(Refusal):
    code = "payment_not_refundable"
    message = "Only a payment that succeeded can be refunded."

    def __init__(self, message: str | None = None, **details: Any) -> None:
        payment = details.get("payment")
        if message is None and payment is not None and payment.set_aside:
            message = (
                "The payment was set aside, its settlement is unknown: resolve it with the outcome 'refund'."
            )
        super().__init__(message, **details)


class RefundInProgress(Refusal):
    code = "refund_in_progress"
    retryable = True
    message = "Another refund of this payment is in progress."


class RefundTooLarge(Refusal):
    code = "refund_too_large"
    message = "Less than this amount of the payment is left to refund."


class PaymentNotResolvable(Refusal):
    code = "payment_not_resolvable"
    message = "Only a payment that was set aside can be resolved."


class InvoiceExpired(Refusal):
    code = "invoice_expired"
    message = "The invoice has expired."


class ConfirmationExpired(Refusal):
    code = "confirmation_expired"
    message = "The code has expired. Start the payment again."


class ConfirmationInvalid(Refusal):
    code = "confirmation_invalid"
    message = "The code does not match."


class InsufficientFunds(Refusal):
    code = "insufficient_funds"
    message = "The wallet holds less than the amount."


class DailyLimitExceeded(Refusal):
    code = "daily_limit_exceeded"
    message = "The payment would exceed the daily limit of all users together."


class SettlementFailed(Refusal):
    code = "settlement_failed"
    message = "The payment could not be settled. The amount is back in the wallet."


class CurrencyMismatch(Refusal):
    code = "currency_mismatch"
    message = "The wallet has another currency than the invoice."


class BalanceTooLarge(Refusal):
    code = "balance_too_large"
    message = "The balance of the wallet could exceed 9007199254740991."

    def __init__(self, message: str | None = None, **details: Any) -> None:
        if message is None and details.get("too_large") == "day":
            message = "The payments of the day in this currency would exceed 9007199254740991."
        super().__init__(message, **details)


class NoChannel(Refusal):
    code = "no_channel"
    message = "The user has no address for this method; choose another method, or add an address."


TOO_MANY = {
    "resends": "This payment has no resends left. Start the payment again for another code.",
    "codes": "Too many codes were sent to this user within an hour.",
    "confirms": "Too many confirmations by this user within a minute.",
    "failures": "Too many wrong codes by this user within a day.",
    "listeners": "This user has as many event listeners as allowed.",
}


class RateLimited(Refusal):
    code = "rate_limited"
    retryable = True
    message = "Too many requests."

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.too_many: str | None = details.get("too_many")
        if message is None and self.too_many is not None:
            message = TOO_MANY[self.too_many]
            if self.too_many == "resends":
                self.retryable = False
            else:
                message += f" Try again in {math.ceil(details['retry_after_s'])} seconds."
        super().__init__(message, **details)


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"
    message = "This idempotency key was used for another request."


class EventPositionUnknown(Refusal):
    code = "event_position_unknown"
    message = (
        "The journal ends before this event: the store lost it. Read the records again, and listen from now on."
    )


@dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid argument and the rule that it breaks."""

    field: str
    message: str


class ValidationFailed(Refusal):
    code = "validation_failed"
    message = "The request is invalid."

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = tuple(errors)


class Fault(TechnopayError):
    """There is neither a result nor a refusal."""

    retryable = True


class WalletBusy(Fault):
    code = "wallet_busy"
    message = "Another process works on this wallet. Nothing happened; try again."


class Overloaded(Fault):
    code = "overloaded"
    message = "The engine is at capacity. Nothing happened; try again."


class StoreUnavailable(Fault):
    code = "store_unavailable"
    message = "The store is not available. Nothing happened; try again."


class ArchiveUnavailable(Fault):
    code = "archive_unavailable"
    message = "The archive is not available. Only history needs it; nothing happened; try again."


class EngineClosed(StoreUnavailable):
    message = "The engine is not running. Nothing happened."


class OutcomeUnknown(Fault):
    code = "outcome_unknown"
    message = "The store did not reply in time. Retry with the same key or id."

    idempotency_key: str | None = None
    """The key for a retry, if the client made one."""


class InternalError(Fault):
    code = "internal_error"
    retryable = False
    message = "An internal error; it was logged."


class StoreUnfit(Exception):
    """Raised when a store must not be used; the message has the reason and the remedy."""


class StoreUninitialised(StoreUnfit):
    """Raised at start when a store was never initialised, or lost its data."""


def _leaves(root: type[TechnopayError]) -> list[type[TechnopayError]]:
    found = []
    for child in root.__subclasses__():
        found += _leaves(child) if child in (Refusal, Fault) else [child]
    return found


REFUSALS: dict[str, type[Refusal]] = {cls.code: cls for cls in _leaves(Refusal) if issubclass(cls, Refusal)} | {
    "message_not_found": MessageNotFound
}
"""Refusals by the code that the scripts return."""
