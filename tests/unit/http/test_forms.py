"""Forms: examples in the documentation fit, and forms agree with the engine's own rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from technopay.engine import ValidationFailed, values
from technopay.engine.models import rfc3339
from technopay.http import forms
from technopay.http.parsing import fill

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
@given(st.text(max_size=70) | st.from_regex(values.USER_ID, fullmatch=True))
def test_a_user_id_is_judged_as_the_engine_judges_it(user_id: str) -> None:
    try:
        fill(forms.TokenBody, {"user_id": user_id})
    except ValidationFailed:
        assert values.user_id_error(user_id)
    else:
        assert not values.user_id_error(user_id)


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
