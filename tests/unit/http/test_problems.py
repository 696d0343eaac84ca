"""Errors as problems: every code has one. Their members are read again in `client/test_errors.py`."""

from __future__ import annotations

import json
import math

import pytest

import technopay.http.problems as module
from technopay.engine import RateLimited, TechnopayError, ValidationFailed
from technopay.http.access_record import RequestRecord
from technopay.http.problems import PROBLEMS
from technopay.http.responses import problem_response

CONTRACT = {
    400: {"malformed_request"},
    401: {"unauthenticated"},
    402: {"insufficient_funds", "daily_limit_exceeded", "settlement_failed"},
    403: {"forbidden", "user_blocked", "wallet_inactive"},
    404: {"not_found", "user_not_found", "wallet_not_found", "invoice_not_found", "payment_not_found"},
    405: {"method_not_allowed"},
    409: {
        "user_exists", "reference_used", "invoice_already_paid", "invoice_not_payable", "invoice_not_voidable",
        "payment_in_progress", "payment_not_confirmable", "payment_not_cancelable", "payment_not_refundable",
        "payment_not_resolvable",
    },
    410: {"invoice_expired", "confirmation_expired"},
    413: {"body_too_large"},
    415: {"unsupported_media_type"},
    422: {
        "validation_failed", "currency_mismatch", "balance_too_large", "no_channel", "confirmation_invalid",
        "idempotency_key_reused",
    },
    429: {"rate_limited"},
    500: {"internal_error"},
    503: {"wallet_busy", "overloaded", "store_unavailable"},
    504: {"outcome_unknown"},
}  # fmt: skip
"""The contract's table."""


def classes(root: type[TechnopayError]) -> list[type[TechnopayError]]:
    found = [root]
    for child in root.__subclasses__():
        found += classes(child)
    return found


def record() -> RequestRecord:
    return RequestRecord("req-1", 0.0, {})


def test_the_table_is_the_contracts() -> None:
    by_status: dict[int, set[str]] = {}
    for code, (status, title) in PROBLEMS.items():
        by_status.setdefault(status, set()).add(code)
        assert title
    assert by_status == CONTRACT


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
