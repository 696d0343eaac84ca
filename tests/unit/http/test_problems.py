"""Errors as problems: every code has one.

The statuses are in the snapshot of the OpenAPI document; `client/test_errors.py` reads the members again.
"""

from __future__ import annotations

import json
import math

import pytest

import technopay.http.problems as module
from technopay.engine import RateLimited, TechnopayError, ValidationFailed
from technopay.http.access_record import RequestRecord
from technopay.http.problems import PROBLEMS
from technopay.http.responses import problem_response


def classes(root: type[TechnopayError]) -> list[type[TechnopayError]]:
    found = [root]
    for child in root.__subclasses__():
        found += classes(child)
    return found


def record() -> RequestRecord:
    return RequestRecord("req-1", 0.0, {})


def test_every_class_of_error_has_a_problem_and_every_problem_a_class() -> None:
    assert module.RequestError in classes(TechnopayError)
    assert {cls.code for cls in classes(TechnopayError)} == set(PROBLEMS)


@pytest.mark.parametrize("cls", [cls for cls in classes(TechnopayError) if cls is not ValidationFailed])
def test_every_class_of_error_is_rendered(cls: type[TechnopayError]) -> None:
    assert json.loads(problem_response(cls(), record()).body) == {
        "type": f"urn:technopay:problem:{cls.code}",
        "title": PROBLEMS[cls.code][1],
        "status": PROBLEMS[cls.code][0],
        "detail": cls.message,
        "code": cls.code,
        "request_id": "req-1",
        "retryable": cls.retryable,
    }


@pytest.mark.parametrize(("given", "header"), [(None, "1"), (0.2, "1"), (12.1, "13"), (math.pi, "4")])
def test_a_rate_limit_says_when_to_come_back(given: float | None, header: str) -> None:
    response = problem_response(RateLimited(retry_after_s=given), record())

    assert response.headers["Retry-After"] == header
