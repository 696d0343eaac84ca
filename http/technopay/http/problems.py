"""Problems (RFC 9457): every code, its status and its title, in one table; and what only HTTP can refuse."""

from __future__ import annotations

from technopay.engine import TechnopayError

PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed_request": (400, "The request cannot be read"),
    "unauthenticated": (401, "No valid token"),
    "insufficient_funds": (402, "Not enough money in the wallet"),
    "daily_limit_exceeded": (402, "The daily limit would be passed"),
    "settlement_failed": (402, "The payment was not settled and was given back"),
    "forbidden": (403, "This is not allowed"),
    "user_blocked": (403, "The user is blocked"),
    "wallet_inactive": (403, "The wallet is inactive"),
    "not_found": (404, "There is nothing here"),
    "user_not_found": (404, "No such user"),
    "wallet_not_found": (404, "No such wallet"),
    "invoice_not_found": (404, "No such invoice"),
    "payment_not_found": (404, "No such payment"),
    "method_not_allowed": (405, "This method is not for this address"),
    "user_exists": (409, "The user exists already"),
    "reference_used": (409, "The reference is used already"),
    "invoice_already_paid": (409, "The invoice is paid already"),
    "invoice_not_payable": (409, "The invoice cannot be paid"),
    "invoice_not_voidable": (409, "The invoice cannot be voided"),
    "payment_in_progress": (409, "Another payment is in progress"),
    "payment_not_confirmable": (409, "The payment cannot be confirmed"),
    "payment_not_cancelable": (409, "The payment cannot be canceled"),
    "payment_not_refundable": (409, "The payment cannot be refunded"),
    "payment_not_resolvable": (409, "The payment cannot be resolved"),
    "invoice_expired": (410, "The invoice has expired"),
    "confirmation_expired": (410, "The code has expired"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is of no supported type"),
    "validation_failed": (422, "Something is not of the right form"),
    "currency_mismatch": (422, "Wallet and invoice differ in currency"),
    "balance_too_large": (422, "The balance would be too large"),
    "no_channel": (422, "The user cannot be reached"),
    "confirmation_invalid": (422, "The code does not match"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request"),
    "rate_limited": (429, "That was too often"),
    "internal_error": (500, "A defect of ours"),
    "wallet_busy": (503, "The wallet is busy"),
    "overloaded": (503, "There is too much to do"),
    "store_unavailable": (503, "The store is not available"),
    "outcome_unknown": (504, "The outcome is unknown"),
}
"""Status and title by code."""

RETRY_AFTER_S = "1"
CHALLENGE = 'Bearer realm="technopay"'


class RequestError(TechnopayError):
    """The root of what only HTTP can refuse."""


class MalformedRequest(RequestError):
    """Raised when a header or the body cannot be read."""

    code = "malformed_request"
    message = "The request cannot be read."


class Unauthenticated(RequestError):
    """Raised when there is no token."""

    code = "unauthenticated"
    message = "A bearer token is needed."

    @property
    def challenge(self) -> str:
        """Answer what WWW-Authenticate says (RFC 6750, 3); another sign-in has another."""
        return CHALLENGE


class InvalidToken(Unauthenticated):
    """Raised when there is a token, and it is not valid. What is told has no quotes and is ASCII."""

    message = "The token is not valid."

    @property
    def challenge(self) -> str:
        """Answer what WWW-Authenticate says."""
        return f'{CHALLENGE}, error="invalid_token", error_description="{self}"'


class UnknownKey(InvalidToken):
    """Raised when no key of ours has signed the token."""


class ForeignRequest(RequestError):
    """Raised in a demo when a request comes by a foreign name or from a foreign page."""

    code = "forbidden"
    message = "A demo answers at its own address only, and no pages of others."


class Forbidden(RequestError):
    """Raised when the token lacks the scope."""

    code = "forbidden"
    message = "The token lacks the scope that this needs."

    def __init__(self, message: str | None = None, *, scope: str = "") -> None:
        super().__init__(message or (f"The token lacks the scope {scope}." if scope else None))
        needed = f', scope="{scope}"' if scope else ""
        self.challenge = f'{CHALLENGE}, error="insufficient_scope"{needed}'


class NotFound(RequestError):
    """Raised when there is no such address."""

    code = "not_found"
    message = "There is nothing at this address."


class MethodNotAllowed(RequestError):
    """Raised when the address does not take this method."""

    code = "method_not_allowed"
    message = "This address does not take this method."

    def __init__(self, message: str | None = None, *, allowed: str = "") -> None:
        """Tell, where it is known, which methods are allowed."""
        super().__init__(message)
        self.allowed = allowed


class BodyTooLarge(RequestError):
    """Raised when the body is longer than is read."""

    code = "body_too_large"
    message = "The body is longer than 16384 bytes."


class UnsupportedMediaType(RequestError):
    """Raised when the body is not declared as JSON."""

    code = "unsupported_media_type"
    message = "The body has to be JSON: send Content-Type: application/json."
