"""Records as JSON, written as the model of the route: a user never sees what only operators see."""

from __future__ import annotations

import json

import pytest

from technopay.engine import OperatorPayment, Page, Payment, PaymentNotRefundable, Resolution
from technopay.engine.models import from_ms
from technopay.http.access_record import RequestRecord
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
    # As the store makes pages: of what it finds, whatever the model is.
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
