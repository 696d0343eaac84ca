"""Problems become the errors from which they were written."""

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
from technopay.engine.record import from_ms
from technopay.http.access_record import RequestRecord
from technopay.http.client.errors import UnexpectedAnswer, read_problem
from technopay.http.problems import ERRORS, PROBLEMS, NotFound
from technopay.http.responses import problem_response

LIMIT = Limit(currency="EUR", limit=9, used=8, remaining=1, resets_at=from_ms(1_000))
DETAILS: dict[str, Any] = {
    "payment": make_payment(),
    "limit": LIMIT,
    "required": 3,
    "available": 0,
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
def test_a_refusal_is_read_with_its_members(code: str) -> None:
    read = there_and_back(REFUSALS[code]("Because.", **DETAILS))

    assert isinstance(read, Refusal)
    assert {name: getattr(read, name) for name in DETAILS} == DETAILS


def test_wrong_fields_are_read_by_their_names() -> None:
    errors = (FieldError("amount", "has to be 1"), FieldError("id", "no"))
    found = there_and_back(ValidationFailed(errors))

    assert isinstance(found, ValidationFailed)
    assert found.errors == errors


@pytest.mark.parametrize("cls", [each for each in ERRORS.values() if not issubclass(each, Refusal)])
def test_an_error_without_members_is_read_with_its_detail(cls: type[TechnopayError]) -> None:
    there_and_back(cls("Said in so many words."))


def test_a_missing_message_shares_its_code_with_a_missing_address() -> None:
    assert MessageNotFound.code == NotFound.code


def read(old: str = "", new: str = "") -> TechnopayError | None:
    """Read a problem with one text replaced, with the headers of a replay."""
    text = problem_response(InsufficientFunds(), record()).body.decode().replace(old, new)
    return read_problem(text, replayed=True, retry_after_s=4.0)


def test_headers_are_read_into_the_error() -> None:
    found = read()

    assert isinstance(found, InsufficientFunds)
    assert (found.replayed, found.retry_after_s) == (True, 4.0)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "<html>", "{}", '{"type": "about:blank", "code": "x", "detail": "d"}']
)
def test_other_bodies_are_no_problem_of_ours(text: str) -> None:
    assert read_problem(text, replayed=False, retry_after_s=None) is None
    assert read("urn:technopay:", "urn:") is None


def test_an_unknown_code_is_an_unexpected_answer() -> None:
    found = read("insufficient_funds", "colour_blind")

    assert isinstance(found, UnexpectedAnswer)
    assert "colour_blind" in str(found)
    assert found.request_id == "req-1"
