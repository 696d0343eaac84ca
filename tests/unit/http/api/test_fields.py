"""Bodies and queries: the examples of the documentation, the rules of the engine, and their messages."""

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fixtures.engine_setup import SECRET

from technopay.engine import ValidationFailed, fields
from technopay.engine.record import rfc3339
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


USER_IDS = st.text(max_size=70) | st.text("abcXYZ019.-_|@:+", min_size=1, max_size=130)


@settings(max_examples=50)
@given(USER_IDS)
def test_a_user_id_is_judged_as_the_engine_judges_it(user_id: str) -> None:
    try:
        fill(body_of("mockToken"), {"user_id": user_id})
    except ValidationFailed:
        assert fields.user_id_error(user_id)
    else:
        assert not fields.user_id_error(user_id)


def wrong_fields(form: type[Form], **given: object) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as refused:
        parse(json.dumps(given).encode(), form)
    return {error.field: error.message for error in refused.value.errors}


INVOICE = {
    "user_id": "a", "amount": 1, "currency": "EUR", "merchant": "m", "expires_at": "2036-01-01T00:00:00Z"
}  # fmt: skip


@pytest.mark.parametrize(
    ("operation_id", "given", "rules"),
    [
        ("createUser", {"id": "a/b", "email": "nobody", "phone": "5550100", "x": 1}, {
            "id": fields.USER_ID_RULE, "email": "has to be an e-mail address",
            "phone": "has to be a phone number like +15550100 (E.164)", "x": "is not known here",
        }),
        ("createInvoice",
            {"user_id": 5, "amount": 0, "currency": "XXX", "merchant": "", "expires_at": "soon"}, {
            "user_id": "has to be a text", "amount": f"has to be 1 to {fields.AMOUNT_MAX}",
            "currency": "has to be an ISO 4217 code like EUR, of a currency with a minor unit",
            "merchant": "has to be 1 to 128 characters",
            "expires_at": "has to be a time like 2036-01-01T00:00:00.000Z",
        }),
        ("createInvoice",
            {**INVOICE, "amount": True, "merchant": "a\nb", "expires_at": "0001-01-01T00:00:00+05:00"}, {
            "amount": "has to be a whole number of minor units",
            "merchant": "has to be one line without control characters or bidirectional overrides",
            "expires_at": "has to be in the years 1 to 9999 of UTC",
        }),
        ("resolvePayment", {"outcome": "lost"}, {
            "outcome": "has to be 'settled' or 'refund'", "note": "is missing",
        }),
        ("startPayment", {"invoice_id": "i" * 65, "wallet_id": None, "method": "fax"}, {
            "invoice_id": "has to have at most 64 characters", "wallet_id": "has to be a text",
            "method": "has to be 'email' or 'sms'",
        }),
        ("mockToken", {"user_id": "a", "admin": "yes"}, {"admin": "has to be true or false"}),
    ],
)  # fmt: skip
def test_all_wrong_fields_are_named_at_once_with_their_rules(
    operation_id: str, given: dict[str, Any], rules: dict[str, str]
) -> None:
    assert wrong_fields(body_of(operation_id), **given) == rules


def test_a_wrong_body_and_wrong_parameters_are_named_with_their_rules() -> None:
    with pytest.raises(ValidationFailed, match=r"^body: has to be an object$"):
        parse(b"[]", body_of("mockToken"))
    with pytest.raises(ValidationFailed) as refused:
        fill(query_of("searchPayments"), {"limit": "0", "set_aside": "maybe", "user_id": "a/b"})
    assert [error.message for error in refused.value.errors] == [
        fields.USER_ID_RULE, "has to be true or false", "has to be at least 1"
    ]  # fmt: skip
    with pytest.raises(ValidationFailed, match=r"^wait: has to be at most 10"):
        fill(query_of("getPayment"), {"wait": "11"})


def test_the_length_of_a_text_counts_in_nfc() -> None:
    texts = {
        "user_id": "auth0|5f1c",
        "merchant": "e\u0301" * 128,
        "description": "a\n\tb",
        "reference": "e\u0301",
    }

    read: Any = parse(json.dumps(INVOICE | texts).encode(), body_of("createInvoice"))

    assert {name: getattr(read, name) for name in texts} == texts


@settings(max_examples=50)
@given(st.datetimes(timezones=st.timezones()))
def test_a_time_written_by_us_is_read_as_the_same_time(at: Any) -> None:
    try:
        text = rfc3339(at)
    except OverflowError:
        return

    read = body_of("createInvoice").model_validate_json(
        json.dumps({**INVOICE, "expires_at": text}), strict=True
    )

    assert rfc3339(read.expires_at) == text


@pytest.mark.parametrize("text", ["0", "2.5", "10", "10.0"])
def test_a_wait_is_a_plain_decimal_and_a_limit_a_plain_number(text: str) -> None:
    assert fill(query_of("getPayment"), {"wait": text}).wait_s == float(text)
    assert fill(query_of("listWallets"), {"limit": "007"}).limit == 7
