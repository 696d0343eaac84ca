"""Problems (RFC 9457): the status and title of every code, errors that only HTTP raises, and their JSON."""

import json
import math
from typing import Any

from technopay.engine import Payment, RateLimited, Refusal, TechnopayError, ValidationFailed
from technopay.engine.errors import REFUSALS, Fault
from technopay.engine.record import rfc3339

PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed_request": (400, "The request is malformed"),
    "unauthenticated": (401, "No valid token"),
    "insufficient_funds": (402, "Not enough money in the wallet"),
    "daily_limit_exceeded": (402, "The payment would exceed the daily limit"),
    "settlement_failed": (402, "The payment was not settled; the amount is back in the wallet"),
    "forbidden": (403, "Not allowed"),
    "user_blocked": (403, "The user is blocked"),
    "wallet_inactive": (403, "The wallet is inactive"),
    "not_found": (404, "Not found"),
    "user_not_found": (404, "No such user"),
    "wallet_not_found": (404, "No such wallet"),
    "invoice_not_found": (404, "No such invoice"),
    "payment_not_found": (404, "No such payment"),
    "webhook_not_found": (404, "No such webhook"),
    "delivery_not_found": (404, "No such delivery"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "user_exists": (409, "The user already exists"),
    "reference_used": (409, "The reference is already used"),
    "invoice_already_paid": (409, "The invoice is already paid"),
    "invoice_not_payable": (409, "The invoice cannot be paid"),
    "invoice_not_voidable": (409, "The invoice cannot be voided"),
    "payment_in_progress": (409, "Another payment is in progress"),
    "payment_not_confirmable": (409, "The payment cannot be confirmed"),
    "payment_not_cancelable": (409, "The payment cannot be canceled"),
    "payment_not_refundable": (409, "The payment cannot be refunded"),
    "payment_not_resolvable": (409, "The payment cannot be resolved"),
    "refund_in_progress": (409, "Another refund is in progress"),
    "event_position_unknown": (409, "The event is not in the journal"),
    "invoice_expired": (410, "The invoice has expired"),
    "confirmation_expired": (410, "The code has expired"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The media type is not supported"),
    "validation_failed": (422, "The request is invalid"),
    "currency_mismatch": (422, "Wallet and invoice have different currencies"),
    "refund_too_large": (422, "More than is left to refund"),
    "balance_too_large": (422, "The balance would be too large"),
    "no_channel": (422, "The user has no channel for a code"),
    "confirmation_invalid": (422, "The code does not match"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request"),
    "rate_limited": (429, "Too many requests"),
    "internal_error": (500, "Internal error"),
    "wallet_busy": (503, "The wallet is busy"),
    "overloaded": (503, "The server is overloaded"),
    "store_unavailable": (503, "The store is not available"),
    "archive_unavailable": (503, "The archive is not available"),
    "outcome_unknown": (504, "The outcome is unknown"),
}
"""Status and title of every code."""

RETRY_AFTER_S = "1"
CHALLENGE = 'Bearer realm="technopay"'


class RequestError(TechnopayError):
    """The root of the errors that only HTTP raises."""


class MalformedRequest(RequestError):
    code = "malformed_request"
    message = "The request is malformed."


class Unauthenticated(RequestError):
    code = "unauthenticated"
    message = "A bearer token is required."

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate (RFC 6750, 3); another sign-in can have another."""
        return CHALLENGE


class InvalidToken(Unauthenticated):
    """There is an invalid token. The message must be ASCII without quotes: it goes into a header."""

    message = "The token is not valid."

    @property
    def challenge(self) -> str:
        return f'{CHALLENGE}, error="invalid_token", error_description="{self}"'


class UnknownKey(InvalidToken):
    """The token is not signed with one of our keys."""


class ForeignRequest(RequestError):
    """A request to a demo has a foreign host name or origin."""

    code = "forbidden"
    message = "A demo accepts requests at its own address only, and none from other pages."


class Forbidden(RequestError):
    code = "forbidden"
    message = "The token lacks the required scope."

    def __init__(self, message: str | None = None, *, scope: str = "") -> None:
        super().__init__(message or (f"The token lacks the scope {scope}." if scope else None))
        needed = f', scope="{scope}"' if scope else ""
        self.challenge = f'{CHALLENGE}, error="insufficient_scope"{needed}'


class NotFound(RequestError):
    code = "not_found"
    message = "There is nothing at this path."


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    message = "This path does not support this method."

    def __init__(self, message: str | None = None, *, allowed: str = "") -> None:
        super().__init__(message)
        self.allowed = allowed


class BodyTooLarge(RequestError):
    code = "body_too_large"
    message = "The body is longer than 16384 bytes."


class UnsupportedMediaType(RequestError):
    code = "unsupported_media_type"
    message = "The body must be JSON, with Content-Type: application/json."


ERRORS: dict[str, type[TechnopayError]] = {
    each.code: each for each in (*REFUSALS.values(), *Fault.__subclasses__(), *RequestError.__subclasses__())
}
"""The error of every code. A missing message has the same code as a missing path."""


def problem_json(
    error: TechnopayError, request_id: str, payment_model: type[Payment] = Payment
) -> dict[str, Any]:
    """Return the members of a problem."""
    status, title = PROBLEMS[error.code]
    problem: dict[str, Any] = {
        "type": f"urn:technopay:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": str(error),
        "code": error.code,
        "request_id": request_id,
        "retryable": error.retryable,
    }
    if isinstance(error, Refusal):
        problem |= _details(error, payment_model)
    return problem


def problem_headers(error: TechnopayError) -> dict[str, str]:
    """Return the headers of a problem."""
    headers = {}
    if isinstance(error, Refusal) and error.replayed:
        headers["Idempotent-Replayed"] = "true"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or 1))
    elif PROBLEMS[error.code][0] == 503:
        headers["Retry-After"] = RETRY_AFTER_S
    elif isinstance(error, Unauthenticated | Forbidden):
        headers["WWW-Authenticate"] = error.challenge
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    return headers


def _details(error: Refusal, payment_model: type[Payment]) -> dict[str, Any]:
    """Return the optional members, which help to correct the request."""
    found: dict[str, Any] = {
        name: value
        for name in ("attempts_remaining", "required", "available", "refundable", "invoice_id")
        if (value := getattr(error, name)) is not None
    }
    if error.locked_until is not None:
        found["locked_until"] = rfc3339(error.locked_until)
    if error.entry is not None:
        found["entry"] = error.entry.model_dump(mode="json")
    if error.limit is not None:
        found["limit"] = error.limit.model_dump(mode="json")
    if error.payment is not None:
        found["payment"] = json.loads(payment_model.__pydantic_serializer__.to_json(error.payment))
    if isinstance(error, ValidationFailed):
        found["errors"] = [{"field": each.field, "message": each.message} for each in error.errors]
    return found
