"""Problems of the API as the errors that the engine raises: one `except` works with both."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ValidationError

from technopay.engine.errors import (
    REFUSALS,
    Fault,
    FieldError,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    Refusal,
    StoreUnavailable,
    TechnopayError,
    ValidationFailed,
    WalletBusy,
)
from technopay.engine.models import Limit, Payment
from technopay.http.problems import (
    BodyTooLarge,
    Forbidden,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    RequestError,
    Unauthenticated,
    UnsupportedMediaType,
)

_FAULTS: tuple[type[Fault], ...] = (WalletBusy, Overloaded, StoreUnavailable, OutcomeUnknown, InternalError)
_REQUEST_ERRORS: tuple[type[RequestError], ...] = (
    BodyTooLarge, Forbidden, MalformedRequest, MethodNotAllowed, NotFound, Unauthenticated,
    UnsupportedMediaType,
)  # fmt: skip
PLAIN: dict[str, type[TechnopayError]] = {cls.code: cls for cls in (*_FAULTS, *_REQUEST_ERRORS)}
"""Errors with nothing but a message."""
_REFUSALS = {cls.code: cls for cls in REFUSALS.values() if cls.code not in PLAIN}
DETAILS = ("payment", "limit", "required", "available", "attempts_remaining", "locked_until")
CODES = frozenset(PLAIN | _REFUSALS)
"""The known codes. A missing message has the same code as a missing path."""


class ServerUnreachable(StoreUnavailable):
    """No server accepted the request. Nothing happened."""

    message = "The server cannot be reached. Nothing happened; try again."


class UnexpectedAnswer(InternalError):
    """The reply is not one of technopay, or of a version that this client does not understand."""

    message = "The reply cannot be read."


class _FieldProblem(BaseModel):
    field: str
    message: str


class _Problem(BaseModel):
    """A problem (RFC 9457) of technopay."""

    type: str
    code: str
    detail: str
    request_id: str
    payment: Payment | None = None
    limit: Limit | None = None
    required: int | None = None
    available: int | None = None
    attempts_remaining: int | None = None
    locked_until: datetime | None = None
    errors: tuple[_FieldProblem, ...] = ()


def read_problem(text: str, *, replayed: bool, retry_after_s: float | None) -> TechnopayError | None:
    """Return the error of a problem, or None if this is no problem of technopay."""
    try:
        problem = _Problem.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None
    if problem.type != f"urn:technopay:problem:{problem.code}":
        return None
    error = _error(problem, replayed=replayed, retry_after_s=retry_after_s)
    error.request_id = problem.request_id
    return error


def _error(problem: _Problem, *, replayed: bool, retry_after_s: float | None) -> TechnopayError:
    if problem.code == ValidationFailed.code:
        return ValidationFailed([FieldError(each.field, each.message) for each in problem.errors])
    if refusal := _REFUSALS.get(problem.code):
        details = {name: getattr(problem, name) for name in DETAILS}
        return refusal(problem.detail, **details, retry_after_s=retry_after_s, replayed=replayed)
    if plain := PLAIN.get(problem.code):
        return plain(problem.detail)
    return UnexpectedAnswer(f"The server replied with an unknown code: {problem.code}.")


def is_final(error: TechnopayError) -> bool:
    """Return whether an error also means that no earlier try of the call had an effect.

    The server checks sign-in, form and rate before it recognises a retry, so their errors do not mean that.
    """
    return isinstance(error, Refusal) and error.code not in ("rate_limited", "validation_failed")
