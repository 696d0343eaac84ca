"""Problems of the API as the errors that the engine raises: one `except` works with both."""

from datetime import datetime

from pydantic import BaseModel, ValidationError

from technopay.engine.errors import (
    FieldError,
    InternalError,
    Refusal,
    StoreUnavailable,
    TechnopayError,
    ValidationFailed,
)
from technopay.engine.models import Entry, Limit, Payment
from technopay.http.problems import ERRORS

DETAILS = (
    "payment", "limit", "required", "available", "refundable", "entry", "attempts_remaining", "locked_until",
)  # fmt: skip


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
    refundable: int | None = None
    entry: Entry | None = None
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
    kind = ERRORS.get(problem.code)
    if kind is None:
        return UnexpectedAnswer(f"The server replied with an unknown code: {problem.code}.")
    if kind is ValidationFailed:
        return ValidationFailed([FieldError(each.field, each.message) for each in problem.errors])
    if issubclass(kind, Refusal):
        details = {name: getattr(problem, name) for name in DETAILS}
        return kind(problem.detail, **details, retry_after_s=retry_after_s, replayed=replayed)
    return kind(problem.detail)


def is_final(error: TechnopayError) -> bool:
    """Return whether an error also means that no earlier try of the call had an effect.

    The server checks sign-in, form and rate before it recognises a retry, so their errors do not mean that.
    """
    return isinstance(error, Refusal) and error.code not in ("rate_limited", "validation_failed")
