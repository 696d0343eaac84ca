from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from technopay.engine import FieldError, ValidationFailed, values

AMOUNT_MAX = 9_007_199_254_740_991


@pytest.mark.parametrize("amount", [1, 2, 100, AMOUNT_MAX])
def test_an_amount_is_1_to_2_to_the_53_minus_1(amount: int) -> None:
    assert values.amount_error(amount) is None


@pytest.mark.parametrize(
    "amount",
    [0, -1, AMOUNT_MAX + 1, 2**64, True, False, 1.0, 2.5, float("nan"), float("inf"), "1", None, [1], b"1"],
)
def test_what_is_no_amount_is_refused(amount: object) -> None:
    assert values.amount_error(amount) is not None


def test_a_limit_can_be_zero_but_not_less() -> None:
    assert values.amount_error(0, least=0) is None
    assert values.amount_error(-1, least=0) is not None
    assert values.amount_error(False, least=0) is not None


@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY", "KWD", "CLF"])
def test_a_currency_of_iso_4217_is_taken(currency: str) -> None:
    assert values.currency_error(currency) is None


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "XXX", "XAU", "XTS", "BTC", "EUR ", "ЕUR"])
def test_what_is_no_currency_with_a_minor_unit_is_refused(currency: str) -> None:
    assert values.currency_error(currency) is not None


@pytest.mark.parametrize("user_id", ["a", "A-Z.a_z-09", "x" * 64, "-", "."])
def test_a_user_id_is_1_to_64_plain_characters(user_id: str) -> None:
    assert values.user_id_error(user_id) is None


@pytest.mark.parametrize("user_id", ["", "x" * 65, "a b", "a\n", "é", "a:b", "{a}", "a/b", "\x00"])
def test_what_is_no_user_id_is_refused(user_id: str) -> None:
    assert values.user_id_error(user_id) is not None


@pytest.mark.parametrize("email", [None, "a@example.com", "a.b+c@sub.example.org"])
def test_an_email_address_is_taken(email: str | None) -> None:
    assert values.email_error(email) is None


@pytest.mark.parametrize(
    "email", ["", "a", "a@", "@example.com", "a@b@example.com", "a b@example.com", "a@example.com\nBcc: b@c.d"]
)
def test_what_is_no_email_address_is_refused(email: str) -> None:
    assert values.email_error(email) is not None


@pytest.mark.parametrize("phone", [None, "+12", "+15550100", "+" + "9" * 15])
def test_a_phone_number_is_e164(phone: str | None) -> None:
    assert values.phone_error(phone) is None


@pytest.mark.parametrize(
    "phone", ["", "+", "+1", "15550100", "+05550100", "+" + "9" * 16, "+1 555", "+1555\n", "+١٢٣"]
)
def test_what_is_no_phone_number_is_refused(phone: str) -> None:
    assert values.phone_error(phone) is not None


@pytest.mark.parametrize("text", [None, "x", "x" * 128, "Schönes, 漢字 & 🐙"])
def test_a_text_is_of_printable_characters_and_bounded(text: str | None) -> None:
    assert values.text_error(text, 1, 128) is None


@pytest.mark.parametrize("text", ["", "x" * 129, "a\nb", "\x00", "\u202e", "\ud800", "tab\t"])
def test_what_is_no_such_text_is_refused(text: str) -> None:
    assert values.text_error(text, 1, 128) is not None


def test_an_empty_text_is_taken_where_none_is_needed() -> None:
    assert values.text_error("", 0, 500) is None


@pytest.mark.parametrize(
    ("code", "is_right"), [("1", True), ("x" * 64, True), ("\x00", True), ("", False), ("x" * 65, False)]
)
def test_a_code_is_any_string_of_1_to_64_characters(code: str, is_right: bool) -> None:
    assert (values.code_error(code) is None) == is_right


@pytest.mark.parametrize("key", [None, "k", "k" * 255, "with space inside", "~!"])
def test_a_key_is_1_to_255_printable_characters(key: str | None) -> None:
    assert values.key_error(key) is None


@pytest.mark.parametrize("key", ["", "k" * 256, " k", "k ", "a\nb", "é", "\x7f", "\x00"])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert values.key_error(key) is not None


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-11))),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
    ],
)
def test_a_time_names_its_offset(at: datetime) -> None:
    assert values.time_error(at) is None


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_time_without_an_offset_or_outside_the_calendar_is_refused(at: datetime) -> None:
    assert values.time_error(at) is not None


@pytest.mark.parametrize(("limit", "is_right"), [(0, False), (1, True), (100, True), (101, False), (-1, False)])
def test_a_page_is_1_to_100_long(limit: int, is_right: bool) -> None:
    assert (values.page_error(limit) is None) == is_right


@pytest.mark.parametrize(
    ("cursor", "form", "is_right"),
    [
        ("", values.ENTRY_CURSOR, True),
        ("17", values.ENTRY_CURSOR, True),
        ("0x10", values.ENTRY_CURSOR, False),
        ("-1", values.ENTRY_CURSOR, False),
        ("1783252800000-0", values.JOURNAL_CURSOR, True),
        ("1783252800000", values.JOURNAL_CURSOR, False),
        ("(1-1", values.JOURNAL_CURSOR, False),
        ("pay_00abc", values.PAYMENT_CURSOR, True),
        ("pay_00abc\n", values.PAYMENT_CURSOR, False),
        ("x" * 65, values.PAYMENT_CURSOR, False),
    ],
)
def test_a_cursor_has_the_form_of_its_list(cursor: str, form: Any, is_right: bool) -> None:
    assert (values.cursor_error(cursor, form) is None) == is_right


def test_every_field_that_is_wrong_is_named() -> None:
    with pytest.raises(ValidationFailed) as refused:
        values.require([("amount", "is odd"), ("currency", None), ("merchant", "is empty")])

    assert refused.value.errors == (FieldError("amount", "is odd"), FieldError("merchant", "is empty"))
    assert str(refused.value) == "amount: is odd; merchant: is empty"


def test_nothing_is_refused_when_nothing_is_wrong() -> None:
    values.require([("amount", None)])
