"""Responses: records written as the model of the route, and errors as problems, one for every code.

The statuses are in the snapshot of the OpenAPI document; `client/test_errors.py` reads the members again.
"""

import json
import math

import pytest

import technopay.http.problems as module
from technopay.engine import (
    OperatorPayment,
    Page,
    Payment,
    PaymentNotRefundable,
    RateLimited,
    Resolution,
    TechnopayError,
    ValidationFailed,
)
from technopay.engine.record import from_ms
from technopay.http.access_record import RequestRecord
from technopay.http.problems import PROBLEMS
from technopay.http.responses import problem_response, record_response

AT = from_ms(1_783_252_800_007)
PAYMENT = OperatorPayment(
    id="pay_1", invoice_id="inv_1", wallet_id="wal_1", user_id="alice", amount=5, currency="EUR", merchant="Ü",
    status="succeeded", created_at=AT, paid_at=AT, settled_at=AT, balance_before=5, balance_after=0,
    confirmation=None, failure=None, refunded_amount=0, refunds=[], limits=[], set_aside=False,
    resolution=Resolution(outcome="settled", note="asked", by="op", at=AT),
)  # fmt: skip


@pytest.mark.parametrize("model", [Payment, OperatorPayment])
def test_a_resolution_is_for_operators_alone_also_in_lists_and_problems(model: type[Payment]) -> None:
    # As the store makes pages: of records of the wider model.
    page: Page[OperatorPayment] = Page(data=[PAYMENT, PAYMENT], has_more=False, next_cursor=None)
    record = RequestRecord("req-1", 0.0, {}, payment_model=model)

    alone = json.loads(record_response(PAYMENT, model).body)
    listed = json.loads(record_response(page, Page[model]).body)["data"]  # type: ignore[valid-type]
    refused = json.loads(problem_response(PaymentNotRefundable(payment=PAYMENT), record).body)["payment"]

    assert ("resolution" in alone) is (model is OperatorPayment)
    assert [*listed, refused] == [alone, alone, alone]


def test_times_have_milliseconds_and_texts_are_not_escaped() -> None:
    text = record_response(PAYMENT, Payment).body.decode()

    assert '"paid_at":"2026-07-05T12:00:00.007Z"' in text
    assert '"merchant":"Ü"' in text


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
def test_a_rate_limit_has_a_retry_after_in_whole_seconds(given: float | None, header: str) -> None:
    response = problem_response(RateLimited(retry_after_s=given), record())

    assert response.headers["Retry-After"] == header
