"""Problems are read as the errors that they were written from."""

from __future__ import annotations

from typing import Any

import pytest
from support.fixtures.doubles import make_payment

from technopay.engine import (
    FieldError,
    InsufficientFunds,
    Limit,
    MessageNotFound,
    Refusal,
    TechnopayError,
    ValidationFailed,
)
from technopay.engine.errors import REFUSALS
from technopay.engine.models import from_ms
from technopay.http.access_record import RequestRecord
from technopay.http.client.errors import UnexpectedAnswer, read_problem
from technopay.http.problems import ERRORS, PROBLEMS, NotFound
from technopay.http.responses import problem_response

LIMIT = Limit(currency="EUR", limit=9, used=8, remaining=1, resets_at=from_ms(1_000))
DETAILS: dict[str, Any] = {
    "payment": make_payment(),
    "limit": LIMIT,
    "required": 3,
    "available": 2,
    "attempts_remaining": 1,
}


def record() -> RequestRecord:
    return RequestRecord("req-1", 0.0, {})


def there_and_back(error: TechnopayError) -> TechnopayError:
    response = problem_response(error, record())
    read = read_problem(response.body.decode(), replayed=False, retry_after_s=None)
    assert read is not None
    assert type(read) is type(error)
    assert (str(read), read.request_id, read.retryable) == (str(error), "req-1", error.retryable)
    return read


def test_every_code_is_known() -> None:
    assert set(PROBLEMS) == set(ERRORS)


@pytest.mark.parametrize(
    "code", sorted(set(REFUSALS) - {"validation_failed", "not_found", "message_not_found"})
)
def test_a_refusal_is_read_with_what_helps(code: str) -> None:
    read = there_and_back(REFUSALS[code]("Because.", **DETAILS))

    assert isinstance(read, Refusal)
    assert {name: getattr(read, name) for name in DETAILS} == DETAILS


def test_what_was_wrong_with_the_form_is_read_by_field() -> None:
    read = there_and_back(ValidationFailed([FieldError("amount", "has to be 1"), FieldError("id", "no")]))

    assert isinstance(read, ValidationFailed)
    assert read.errors == (FieldError("amount", "has to be 1"), FieldError("id", "no"))


def test_a_missing_message_shares_its_code_with_a_missing_address() -> None:
    assert MessageNotFound.code == NotFound.code
    there_and_back(NotFound())


def test_headers_are_read_into_the_error() -> None:
    text = problem_response(InsufficientFunds(), record()).body.decode()

    read = read_problem(text, replayed=True, retry_after_s=4.0)

    assert isinstance(read, InsufficientFunds)
    assert (read.replayed, read.retry_after_s) == (True, 4.0)


def test_what_only_looks_like_a_problem_of_ours_is_none() -> None:
    text = problem_response(InsufficientFunds(), record()).body.decode().replace("urn:technopay:", "urn:")

    assert read_problem(text, replayed=False, retry_after_s=None) is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "<html>", "{}", '{"type": "about:blank", "code": "x", "detail": "d"}']
)
def test_what_is_no_problem_of_ours_is_none(text: str) -> None:
    assert read_problem(text, replayed=False, retry_after_s=None) is None


def test_a_code_that_is_not_known_here_is_no_reason_to_crash() -> None:
    text = (
        problem_response(InsufficientFunds(), record())
        .body.decode()
        .replace("insufficient_funds", "colour_blind")
    )

    read = read_problem(text, replayed=False, retry_after_s=None)

    assert isinstance(read, UnexpectedAnswer)
    assert "colour_blind" in str(read)
    assert read.request_id == "req-1"


@pytest.mark.parametrize("cls", [each for each in ERRORS.values() if not issubclass(each, Refusal)])
def test_what_is_told_is_what_was_said(cls: type[TechnopayError]) -> None:
    there_and_back(cls("Said in so many words."))
