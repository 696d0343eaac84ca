"""Bodies: plain JSON within the limits, and the problems of any other one."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from technopay.engine import ValidationFailed
from technopay.http.problems import MalformedRequest
from technopay.http.requests import DEPTH_MAX, NAME_SHOWN_MAX, Form, fill, read_body, require_plain_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_json_is_taken(value: object) -> None:
    require_plain_json(json.dumps(value).encode())
    require_plain_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=64))
def test_any_bytes_are_taken_or_malformed(raw: bytes) -> None:
    try:
        require_plain_json(raw)
    except MalformedRequest:
        return
    json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({"a": "[{" * 500, 'b"': '\\"[' * 100, "c\\": "["}),
        "[" * DEPTH_MAX + "]" * DEPTH_MAX,
        "[" + "[],{}," * 100 + "1]",
        *("1" * 20, "-" + "1" * 20, "0." + "1" * 19, "1e" + "0" * 17 + "1"),
    ],
    ids=lambda raw: raw[:12],
)
def test_json_within_the_bounds_is_accepted(raw: str) -> None:
    require_plain_json(raw.encode())


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1), "deeper"),
        *((number, "digits") for number in ("1" * 21, "-" + "1" * 21, "0." + "1" * 20, "1e" + "0" * 19 + "1")),
        *((raw, "twice") for raw in ('{"a":1,"a":1}', '[{"b":{"a":1,"a":2}}]', '{"a":1,"\\u0061":2}')),
    ],
    ids=lambda raw: raw[:12],
)
def test_json_beyond_a_bound_is_malformed(raw: str, problem: str) -> None:
    with pytest.raises(MalformedRequest, match=problem):
        require_plain_json(raw.encode())


def test_the_member_given_twice_is_named() -> None:
    with pytest.raises(MalformedRequest, match=r'^The body has the member "b" twice\.$'):
        require_plain_json(b'{"a": 1, "b": 2, "c": 3, "b": 4, "a": 5}')
    strange = f'{{"{"x" * 100}": 1, "\\ud800": 1, "\\ud800": 1}}'
    with pytest.raises(MalformedRequest, match=r'member "\\ud800" twice'):
        require_plain_json(strange.encode())
    with pytest.raises(MalformedRequest) as refused:
        require_plain_json(f'{{"{"x" * 100}": 1, "{"x" * 100}": 1}}'.encode())
    assert "x" * NAME_SHOWN_MAX in str(refused.value)
    assert "x" * (NAME_SHOWN_MAX + 1) not in str(refused.value)


class Inner(Form):
    amount: int


class Outer(Form):
    inner: Inner


def test_a_field_is_named_with_its_path() -> None:
    with pytest.raises(ValidationFailed) as caught:
        fill(Outer, {"inner": {"amount": "x"}})  # type: ignore[dict-item]

    assert [error.field for error in caught.value.errors] == ["inner.amount"]


class Optional(Form):
    amount: int | None = None


@pytest.mark.parametrize("form", [Form, Optional])
async def test_a_body_without_required_fields_can_be_left_out(form: type[Form]) -> None:
    assert await read_body(without_body(), form, 1.0) == form()


async def test_a_body_with_a_required_field_cannot_be_left_out() -> None:
    with pytest.raises(MalformedRequest):
        await read_body(without_body(), Inner, 1.0)


def without_body() -> web.Request:
    return make_mocked_request("POST", "/", headers={"Content-Type": "application/json"})
