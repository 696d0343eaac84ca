"""Problems as the errors that the library raises: what is refused is caught alike, near or far."""

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
"""Errors that carry nothing but what they say."""
_REFUSALS = {cls.code: cls for cls in REFUSALS.values() if cls.code not in PLAIN}
CODES = frozenset(PLAIN | _REFUSALS)
"""The codes that are known here. A missing message shares its code with a missing address."""


class ServerUnreachable(StoreUnavailable):
    """Raised when no server took the request. Nothing happened."""

    message = "The server cannot be reached. Nothing happened; try again."


class UnexpectedAnswer(InternalError):
    """Raised when what answered is not technopay, or is one that speaks otherwise than this client."""

    message = "The answer cannot be read."


class _FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class _Problem(BaseModel):
    """A problem of ours (RFC 9457), as far as it is of use here."""

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
    """Answer the error that a problem tells of, or None when this is no problem of ours."""
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
        return refusal(
            problem.detail,
            payment=problem.payment,
            limit=problem.limit,
            required=problem.required,
            available=problem.available,
            attempts_remaining=problem.attempts_remaining,
            locked_until=problem.locked_until,
            retry_after_s=retry_after_s,
            replayed=replayed,
        )
    if plain := PLAIN.get(problem.code):
        return plain(problem.detail)
    return UnexpectedAnswer(f"The server refused for a reason that is not known here: {problem.code}.")


def is_refusal_for_good(error: TechnopayError) -> bool:
    """Answer whether an error also tells that no earlier try of the same call had an effect.

    Sign-in, form and rate are judged before a repeat is known for one, so they tell nothing of it.
    """
    return isinstance(error, Refusal) and error.code not in ("rate_limited", "validation_failed")
