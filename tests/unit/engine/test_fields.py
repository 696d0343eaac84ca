from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from technopay.engine import FieldError, ValidationFailed, fields

AMOUNT_MAX = 9_007_199_254_740_991


@pytest.mark.parametrize("amount", [1, 2, 100, AMOUNT_MAX])
def test_an_amount_is_1_to_2_to_the_53_minus_1(amount: int) -> None:
    assert fields.amount_error(amount) is None


@pytest.mark.parametrize(
    "amount",
    [0, -1, AMOUNT_MAX + 1, 2**64, True, False, 1.0, 2.5, float("nan"), float("inf"), "1", None, [1], b"1"],
)
def test_what_is_no_amount_is_refused(amount: object) -> None:
    assert fields.amount_error(amount) is not None


def test_a_limit_can_be_zero_but_not_less() -> None:
    assert fields.amount_error(0, least=0) is None
    assert fields.amount_error(-1, least=0) is not None
    assert fields.amount_error(False, least=0) is not None


@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY", "KWD", "CLF"])
def test_a_currency_of_iso_4217_is_taken(currency: str) -> None:
    assert fields.currency_error(currency) is None


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "XXX", "XAU", "XTS", "BTC", "EUR ", "ЕUR"])
def test_what_is_no_currency_with_a_minor_unit_is_refused(currency: str) -> None:
    assert fields.currency_error(currency) is not None


@pytest.mark.parametrize(
    "user_id",
    [
        "a", "A-Z.a_z-09", "x" * 128, "-", "...", ".a", "..a", "a.", "." * 128, ".a" * 64,
        "auth0|5f1c", "us-east-1:5f1c", "alice+shop@example.com", "~alice",
    ],
)  # fmt: skip
def test_a_user_id_is_1_to_128_characters_that_identity_providers_use(user_id: str) -> None:
    assert fields.user_id_error(user_id) is None


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        ".",
        "..",
        "x" * 129,
        "." * 129,
        "." + "x" * 128,
        "a b",
        "a\n",
        "é",
        "{a}",
        "a/b",
        "a%b",
        "\x00",
        "\ud800",
    ],
)
def test_what_is_no_user_id_is_refused(user_id: str) -> None:
    assert fields.user_id_error(user_id) is not None


@pytest.mark.parametrize(
    "email",
    [
        None, "a@example.com", "a.b+c@sub.example.org", "A@EXAMPLE.com", "o'hara@example.com",
        "a@site.test", "a@host.internal", "a@x.local", "a@localhost", "a@b.invalid", "a@c.LOCAL",
        "a@[192.0.2.1]", '"ab"@example.com', '"a@b"@example.com',
        "ü@example.com", "用户@例え.テスト", "कविता@example.com", "a@xn--r8jz45g.example",
        "u\u0308@example.com",
        f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 55}.local",
    ],
)  # fmt: skip
def test_an_email_address_is_taken(email: str | None) -> None:
    assert fields.email_error(email) is None


@pytest.mark.parametrize(
    "email",
    [
        "", "a", "a@", "@example.com", "a@b@example.com", "a b@example.com", "a@example.com\nBcc: b@c.d",
        "\x1fbad@example.com", "bad@example.com\x1f", "Name <a@b.example>", "<a@b.example>",
        '"\x00" <a@b.example>', '"\x1f" <a@b.example>', " a@b.example", "a@b.example ", "a@b.example\n",
        "a@b.example, c@d.example", '"a b"@example.com', '"a\tb"@example.com', "a\u3000b@example.com",
        "a\u200db@example.com", "a\xadb@example.com", "a\u202eb@example.com", "a@b\u200f.example",
        "a@exam\xadple.com", "a\ud800@b.example", "a@b..example", "a@.local", "❤@example.com",
        f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 56}.local",
    ],
)  # fmt: skip
def test_what_is_no_email_address_is_refused(email: str) -> None:
    assert fields.email_error(email) is not None


@pytest.mark.parametrize("phone", [None, "+12", "+15550100", "+" + "9" * 15])
def test_a_phone_number_is_e164(phone: str | None) -> None:
    assert fields.phone_error(phone) is None


@pytest.mark.parametrize(
    "phone", ["", "+", "+1", "15550100", "+05550100", "+" + "9" * 16, "+1 555", "+1555\n", "+١٢٣"]
)
def test_what_is_no_phone_number_is_refused(phone: str) -> None:
    assert fields.phone_error(phone) is not None


ODD_TEXTS = [
    "Schönes, 漢字 & 🐙", "کتاب\u200cفروشی", "👩\u200d👧", "a\xa0b", "a\u3000b", "a\u200fb", "a\u200f",
    "so\xadft", "a\u200bb", "\ufeffa", "\ue000", "\uffff",
]  # fmt: skip
HARMFUL_TEXTS = [
    "a\x00b", "a\x1fb", "a\x7fb", "a\x85b", "a\rb", "a\r\nb", "a\x0bb", "a\ud800b", "a\udfffb", "a\u202ab",
    "a\u202eb", "a\u2066b", "a\u2069b", " a", "a ", "\xa0a", "a\u3000", "\u2003", " ", "a\n", "\ta", "a\u2028",
]  # fmt: skip


@pytest.mark.parametrize("text", [None, "x", "x" * 128, *ODD_TEXTS])
def test_a_text_can_hold_what_people_write_and_is_bounded(text: str | None) -> None:
    assert fields.text_error(text, 1, 128) is None


@pytest.mark.parametrize("text", ["", "x" * 129, "a\nb", "a\tb", "a\u2028b", "a\u2029b", *HARMFUL_TEXTS])
def test_what_is_no_such_text_is_refused(text: str) -> None:
    assert fields.text_error(text, 1, 128) is not None


@pytest.mark.parametrize("text", ["a\nb", "a\n\tb", "a\u2028b", "a\u2029b", *ODD_TEXTS])
def test_a_text_of_several_lines_can_hold_new_lines_and_tabs(text: str) -> None:
    assert fields.text_error(text, 1, 500, lines=True) is None


@pytest.mark.parametrize("text", HARMFUL_TEXTS)
def test_a_text_of_several_lines_holds_nothing_else_of_the_kind(text: str) -> None:
    assert fields.text_error(text, 1, 500, lines=True) is not None


def test_a_text_is_as_long_as_it_is_in_nfc() -> None:
    assert fields.text_error("e\u0301" * 128, 1, 128) is None
    assert fields.text_error("\u0958" * 64, 1, 128) is None, "two characters each in NFC"
    assert fields.text_error("\u0958" * 65, 1, 128) == "has to be 1 to 128 characters"
    assert fields.text_error("a" + "\u0301\u0323" * 100_000, 1, 128) == "has to be 1 to 128 characters"


@pytest.mark.parametrize(
    "typed",
    [
        "123456", "123 456", " 123456\n", "123-456", "123\u2013456", "\u3000-1-2-3-4-5-6-", "１２３４５６",
        "١٢٣٤٥٦", "۱۲۳۴۵۶", "۱۲۳\xa0-\u2003٤٥６", "१२३४५६", "\x0b123\x1c456\x85",
    ],
)  # fmt: skip
def test_a_code_is_read_as_the_digits_that_were_typed(typed: str) -> None:
    assert fields.normalise_code(typed) == "123456"


@pytest.mark.parametrize("typed", ["¹²³", "①②③", "abc", "12345O", "\x00", "\ud800", "一二三"])
def test_what_is_no_decimal_digit_stays_as_it_was_typed(typed: str) -> None:
    assert fields.normalise_code(typed) == typed


def test_a_code_of_white_space_is_no_code() -> None:
    assert fields.normalise_code(" -\t\u2003- ") == ""


def test_an_empty_text_is_taken_where_none_is_needed() -> None:
    assert fields.text_error("", 0, 500) is None


@pytest.mark.parametrize(
    ("code", "is_right"), [("1", True), ("x" * 64, True), ("\x00", True), ("", False), ("x" * 65, False)]
)
def test_a_code_is_any_string_of_1_to_64_characters(code: str, is_right: bool) -> None:
    assert (fields.code_error(code) is None) == is_right


@pytest.mark.parametrize("key", [None, "k", "k" * 255, "with space inside", "~!"])
def test_a_key_is_1_to_255_printable_characters(key: str | None) -> None:
    assert fields.key_error(key) is None


@pytest.mark.parametrize("key", ["", "k" * 256, " k", "k ", "a\nb", "é", "\x7f", "\x00"])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert fields.key_error(key) is not None


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
    assert fields.time_error(at) is None


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_time_without_an_offset_or_outside_the_calendar_is_refused(at: datetime) -> None:
    assert fields.time_error(at) is not None


@pytest.mark.parametrize(("limit", "is_right"), [(0, False), (1, True), (100, True), (101, False), (-1, False)])
def test_a_page_is_1_to_100_long(limit: int, is_right: bool) -> None:
    assert (fields.page_error(limit) is None) == is_right


@pytest.mark.parametrize(
    ("cursor", "form", "is_right"),
    [
        ("", fields.ENTRY_CURSOR, True),
        ("17", fields.ENTRY_CURSOR, True),
        ("0x10", fields.ENTRY_CURSOR, False),
        ("-1", fields.ENTRY_CURSOR, False),
        ("1783252800000-0", fields.JOURNAL_CURSOR, True),
        ("1783252800000", fields.JOURNAL_CURSOR, False),
        ("(1-1", fields.JOURNAL_CURSOR, False),
        ("pay_00abc", fields.PAYMENT_CURSOR, True),
        ("pay_00abc\n", fields.PAYMENT_CURSOR, False),
        ("x" * 65, fields.PAYMENT_CURSOR, False),
    ],
)
def test_a_cursor_has_the_form_of_its_list(cursor: str, form: Any, is_right: bool) -> None:
    assert (fields.cursor_error(cursor, form) is None) == is_right


def test_every_field_that_is_wrong_is_named() -> None:
    with pytest.raises(ValidationFailed) as refused:
        fields.require([("amount", "is odd"), ("currency", None), ("merchant", "is empty")])

    assert refused.value.errors == (FieldError("amount", "is odd"), FieldError("merchant", "is empty"))
    assert str(refused.value) == "amount: is odd; merchant: is empty"


def test_nothing_is_refused_when_nothing_is_wrong() -> None:
    fields.require([("amount", None)])
