"""Records and errors as JSON. What is for operators only is left out for users."""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from technopay.engine import (
    FieldError,
    Page,
    Payment,
    PaymentEvent,
    RateLimited,
    Refusal,
    TechnopayError,
    ValidationFailed,
)
from technopay.engine.models import rfc3339
from technopay.http.answer import Answer
from technopay.http.problems import PROBLEMS, RETRY_AFTER_S, Forbidden, MethodNotAllowed, Unauthenticated
from technopay.http.seen import Seen

PROBLEM = "application/problem+json; charset=utf-8"
OPERATORS_ONLY = {"resolution"}


def record_json(record: BaseModel, *, operator: bool) -> bytes:
    """Render a record or a page of records."""
    exclude: Any = None
    if not operator and isinstance(record, Payment):
        exclude = OPERATORS_ONLY
    elif not operator and isinstance(record, Page) and record.data and isinstance(record.data[0], Payment):
        exclude = {"data": {"__all__": OPERATORS_ONLY}}
    elif not operator and isinstance(record, PaymentEvent):
        exclude = {"payment": OPERATORS_ONLY}
    # What `model_dump_json` does, without the way by a text.
    return record.__pydantic_serializer__.to_json(record, exclude=exclude)


def problem_json(error: TechnopayError, request_id: str, *, operator: bool) -> dict[str, Any]:
    """Render an error as a problem; operators see payments whole."""
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
        problem |= _helpful(error, operator=operator)
    return problem


def problem_response(error: TechnopayError, seen: Seen) -> web.Response:
    """Answer with an error."""
    return problem_answer(error, seen).as_response(seen)


def problem_answer(error: TechnopayError, seen: Seen) -> Answer:
    """Answer with an error."""
    problem = problem_json(error, seen.request_id, operator=seen.is_operator)
    status, headers = problem["status"], {}
    if isinstance(error, Refusal) and error.replayed:
        headers["Idempotent-Replayed"] = "true"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or 1))
    elif status == 503:
        headers["Retry-After"] = RETRY_AFTER_S
    elif isinstance(error, Unauthenticated | Forbidden):
        headers["WWW-Authenticate"] = error.challenge
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    return Answer(to_json(problem), status, headers, PROBLEM)


def _helpful(error: Refusal, *, operator: bool) -> dict[str, Any]:
    """Answer the members that help to put it right."""
    found: dict[str, Any] = {
        name: value
        for name in ("attempts_remaining", "required", "available", "invoice_id")
        if (value := getattr(error, name)) is not None
    }
    if error.locked_until is not None:
        found["locked_until"] = rfc3339(error.locked_until)
    if error.limit is not None:
        found["limit"] = json.loads(record_json(error.limit, operator=operator))
    if error.payment is not None:
        found["payment"] = json.loads(record_json(error.payment, operator=operator))
    if isinstance(error, ValidationFailed):
        found["errors"] = [field_error_json(field_error) for field_error in error.errors]
    return found


def field_error_json(error: FieldError) -> dict[str, str]:
    """Render what is wrong with one field."""
    return {"field": error.field, "message": error.message}
