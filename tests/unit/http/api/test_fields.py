"""Forms: examples in the documentation fit, and forms agree with the engine's own rules."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fixtures.engine_setup import SECRET

from technopay.engine import ValidationFailed, fields
from technopay.engine.models import rfc3339
from technopay.http.api.demo import mock_routes
from technopay.http.app import API_ROUTES
from technopay.http.auth.tokens import TokenSigner
from technopay.http.requests import Form, fill, parse

ROUTES = {
    route.operation_id: route
    for route in (*API_ROUTES, *mock_routes(cast("Any", None), TokenSigner(SECRET)))
}  # fmt: skip
FORMS = [form for route in ROUTES.values() for form in (route.body, route.query)]
EXAMPLES = [
    (route.body, example)
    for route in ROUTES.values()
    for example in (route.body.model_json_schema().get("examples") or [])
]  # fmt: skip


def body_of(operation_id: str) -> Any:
    return ROUTES[operation_id].body


def query_of(operation_id: str) -> Any:
    return ROUTES[operation_id].query


@pytest.mark.parametrize(("form", "example"), EXAMPLES)
def test_an_example_of_the_documentation_fits(form: type[Form], example: dict[str, Any]) -> None:
    form.model_validate_json(json.dumps(example), strict=True)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_takes_unknown_members(form: type[Form]) -> None:
    assert form.model_config["extra"] == "forbid"
    assert form.model_config["frozen"]


@settings(max_examples=50)
@given(st.text(max_size=70) | st.from_regex(fields.USER_ID, fullmatch=True))
def test_a_user_id_is_judged_as_the_engine_judges_it(user_id: str) -> None:
    try:
        fill(body_of("mockToken"), {"user_id": user_id})
    except ValidationFailed:
        assert fields.user_id_error(user_id)
    else:
        assert not fields.user_id_error(user_id)


def wrong_fields(form: type[Form], **given: object) -> dict[str, str]:
    """Read a body and answer what is wrong with it."""
    with pytest.raises(ValidationFailed) as refused:
        parse(json.dumps(given).encode(), form)
    return {error.field: error.message for error in refused.value.errors}


def test_all_that_is_wrong_is_named_in_one_answer_in_our_words() -> None:
    assert wrong_fields(body_of("createUser"), id="a/b", email="nobody", phone="5550100", x=1) == {
        "id": fields.USER_ID_RULE,
        "email": "has to be an e-mail address",
        "phone": "has to be a phone number like +15550100 (E.164)",
        "x": "is not known here",
    }
    assert wrong_fields(
        body_of("createInvoice"), user_id=5, amount=0, currency="XXX", merchant="", expires_at="soon"
    ) == {
        "user_id": "has to be a text",
        "amount": f"has to be 1 to {fields.AMOUNT_MAX}",
        "currency": "has to be an ISO 4217 code like EUR, of a currency with a minor unit",
        "merchant": "has to be 1 to 128 characters",
        "expires_at": "has to be a time like 2036-01-01T00:00:00.000Z",
    }
    assert wrong_fields(body_of("resolvePayment"), outcome="lost") == {
        "outcome": "has to be 'settled' or 'refund'",
        "note": "is missing",
    }
    assert wrong_fields(body_of("startPayment"), invoice_id="i" * 65, wallet_id=None, method="fax") == {
        "invoice_id": "has to have at most 64 characters",
        "wallet_id": "has to be a text",
        "method": "has to be 'email' or 'sms'",
    }
    assert wrong_fields(body_of("mockToken"), user_id="a", admin="yes") == {"admin": "has to be true or false"}
    with pytest.raises(ValidationFailed, match=r"^body: has to be an object$"):
        parse(b"[]", body_of("mockToken"))
    with pytest.raises(ValidationFailed) as refused:
        fill(query_of("searchPayments"), {"limit": "0", "set_aside": "maybe", "user_id": "a/b"})
    assert [error.message for error in refused.value.errors] == [
        fields.USER_ID_RULE,
        "has to be true or false",
        "has to be at least 1",
    ]
    with pytest.raises(ValidationFailed, match=r"^wait: has to be at most 10"):
        fill(query_of("getPayment"), {"wait": "11"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("merchant", "a\n"),
        ("merchant", "a\nb"),
        ("merchant", "a\u202eb"),
        ("description", "\x00"),
        ("description", "a\x1fb"),
        ("reference", "a\tb"),
        ("reference", "e\u0301" * 129),
        ("reference", ""),
        ("expires_at", "0001-01-01T00:00:00+05:00"),
    ],
)
def test_what_the_engine_refuses_is_refused_with_the_rest(field: str, value: str) -> None:
    body = {
        "user_id": "a", "amount": True, "currency": "EUR", "merchant": "m", "expires_at": "2036-01-01T00:00:00Z"
    }  # fmt: skip
    assert set(wrong_fields(body_of("createInvoice"), **{**body, field: value})) == {"amount", field}


def test_the_length_of_a_text_counts_in_nfc() -> None:
    body = {
        "user_id": "auth0|5f1c", "amount": 1, "currency": "EUR", "merchant": "e\u0301" * 128,
        "description": "a\n\tb", "reference": "e\u0301", "expires_at": "2036-01-01T00:00:00Z",
    }  # fmt: skip

    read: Any = parse(json.dumps(body).encode(), body_of("createInvoice"))

    assert (read.merchant, read.reference, read.description) == ("e\u0301" * 128, "e\u0301", "a\n\tb")


@settings(max_examples=50)
@given(st.datetimes(timezones=st.timezones()))
def test_a_time_written_by_us_is_read_as_the_same_time(at: Any) -> None:
    try:
        text = rfc3339(at)
    except OverflowError:
        return
    body = {"user_id": "a", "amount": 1, "currency": "EUR", "merchant": "m", "expires_at": text}

    read = body_of("createInvoice").model_validate_json(json.dumps(body), strict=True)

    assert rfc3339(read.expires_at) == text


@pytest.mark.parametrize("text", ["0", "2.5", "10", "10.0"])
def test_a_wait_is_a_plain_decimal(text: str) -> None:
    assert fill(query_of("getPayment"), {"wait": text}).wait_s == float(text)


def test_a_confirm_waits_four_seconds_and_a_read_not_at_all_unless_told() -> None:
    assert (fill(query_of("confirmPayment"), {}).wait_s, fill(query_of("getPayment"), {}).wait_s) == (4.0, 0.0)


def test_a_page_has_twenty_records_unless_told() -> None:
    assert fill(query_of("listWallets"), {}).limit == 20
    assert fill(query_of("listWallets"), {"limit": "007"}).limit == 7
