"""Forms: examples in the documentation fit, and forms agree with the engine's own rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from technopay.engine import ValidationFailed, fields
from technopay.engine.models import rfc3339
from technopay.http import forms
from technopay.http.parsing import fill, parse

FORMS = [form for form in vars(forms).values() if isinstance(form, type) and issubclass(form, forms.Form)]
EXAMPLES = [
    (form, example)
    for form in FORMS
    for example in (form.model_json_schema().get("examples") or [])
]  # fmt: skip


@pytest.mark.parametrize(("form", "example"), EXAMPLES)
def test_an_example_of_the_documentation_fits(form: type[forms.Form], example: dict[str, Any]) -> None:
    form.model_validate_json(json.dumps(example), strict=True)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_takes_unknown_members(form: type[forms.Form]) -> None:
    assert form.model_config["extra"] == "forbid"
    assert form.model_config["frozen"]


@settings(max_examples=50)
@given(st.text(max_size=70) | st.from_regex(fields.USER_ID, fullmatch=True))
def test_a_user_id_is_judged_as_the_engine_judges_it(user_id: str) -> None:
    try:
        fill(forms.TokenBody, {"user_id": user_id})
    except ValidationFailed:
        assert fields.user_id_error(user_id)
    else:
        assert not fields.user_id_error(user_id)


def wrong_fields(form: type[forms.Form], **given: object) -> dict[str, str]:
    """Read a body and answer what is wrong with it."""
    with pytest.raises(ValidationFailed) as refused:
        parse(json.dumps(given).encode(), form)
    return {error.field: error.message for error in refused.value.errors}


def test_all_that_is_wrong_is_named_in_one_answer_in_our_words() -> None:
    assert wrong_fields(forms.CreateUserBody, id="a/b", email="nobody", phone="5550100", x=1) == {
        "id": fields.USER_ID_RULE,
        "email": "has to be an e-mail address",
        "phone": "has to be a phone number like +15550100 (E.164)",
        "x": "is not known here",
    }
    assert wrong_fields(
        forms.CreateInvoiceBody, user_id=5, amount=0, currency="XXX", merchant="", expires_at="soon"
    ) == {
        "user_id": "has to be a text",
        "amount": f"has to be 1 to {fields.AMOUNT_MAX}",
        "currency": "has to be an ISO 4217 code like EUR, of a currency with a minor unit",
        "merchant": "has to be 1 to 128 characters",
        "expires_at": "has to be a time like 2036-01-01T00:00:00.000Z",
    }
    assert wrong_fields(forms.ResolveBody, outcome="lost") == {
        "outcome": "has to be 'settled' or 'refund'",
        "note": "is missing",
    }
    assert wrong_fields(forms.StartPaymentBody, invoice_id="i" * 65, wallet_id=None, method="fax") == {
        "invoice_id": "has to have at most 64 characters",
        "wallet_id": "has to be a text",
        "method": "has to be 'email' or 'sms'",
    }
    assert wrong_fields(forms.TokenBody, user_id="a", admin="yes") == {"admin": "has to be true or false"}
    with pytest.raises(ValidationFailed, match=r"^body: has to be an object$"):
        parse(b"[]", forms.TokenBody)
    with pytest.raises(ValidationFailed) as refused:
        fill(forms.PaymentQuery, {"limit": "0", "set_aside": "maybe", "user_id": "a/b"})
    assert [error.message for error in refused.value.errors] == [
        "has to be at least 1",
        fields.USER_ID_RULE,
        "has to be true or false",
    ]
    with pytest.raises(ValidationFailed, match=r"^wait: has to be at most 10"):
        fill(forms.WaitQuery, {"wait": "11"})


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
    assert set(wrong_fields(forms.CreateInvoiceBody, **{**body, field: value})) == {"amount", field}


def test_the_length_of_a_text_counts_in_nfc() -> None:
    body = {
        "user_id": "auth0|5f1c", "amount": 1, "currency": "EUR", "merchant": "e\u0301" * 128,
        "description": "a\n\tb", "reference": "e\u0301", "expires_at": "2036-01-01T00:00:00Z",
    }  # fmt: skip

    read = parse(json.dumps(body).encode(), forms.CreateInvoiceBody)

    assert (read.merchant, read.reference, read.description) == ("e\u0301" * 128, "e\u0301", "a\n\tb")


@settings(max_examples=50)
@given(st.datetimes(timezones=st.timezones()))
def test_a_time_written_by_us_is_read_as_the_same_time(at: Any) -> None:
    try:
        text = rfc3339(at)
    except OverflowError:
        return
    body = {"user_id": "a", "amount": 1, "currency": "EUR", "merchant": "m", "expires_at": text}

    read = forms.CreateInvoiceBody.model_validate_json(json.dumps(body), strict=True)

    assert rfc3339(read.expires_at) == text


@pytest.mark.parametrize("text", ["0", "2.5", "10", "10.0"])
def test_a_wait_is_a_plain_decimal(text: str) -> None:
    assert fill(forms.WaitQuery, {"wait": text}).wait == float(text)


def test_a_confirm_waits_four_seconds_and_a_read_not_at_all_unless_told() -> None:
    assert (fill(forms.ConfirmQuery, {}).wait, fill(forms.WaitQuery, {}).wait) == (4.0, 0.0)


def test_a_page_has_twenty_records_unless_told() -> None:
    assert fill(forms.PageQuery, {}).limit == 20
    assert fill(forms.PageQuery, {"limit": "007"}).limit == 7
