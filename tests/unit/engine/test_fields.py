"""Rules of the fields: accepted and refused values of each one."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from technopay.engine import FieldError, ValidationFailed, fields

AMOUNT_MAX = 9_007_199_254_740_991
ODD_TEXTS = [
    "Schönes, 漢字 & 🐙", "کتاب\u200cفروشی", "👩\u200d👧", "a\xa0b", "a\u3000b", "a\u200fb", "a\u200f",
    "so\xadft", "a\u200bb", "\ufeffa", "\ue000", "\uffff",
]  # fmt: skip
HARMFUL_TEXTS = [
    "a\x00b", "a\x1fb", "a\x7fb", "a\x85b", "a\rb", "a\r\nb", "a\x0bb", "a\ud800b", "a\udfffb", "a\u202ab",
    "a\u202eb", "a\u2066b", "a\u2069b", " a", "a ", "\xa0a", "a\u3000", "\u2003", " ", "a\n", "\ta", "a\u2028",
]  # fmt: skip
WEST, EAST = timezone(timedelta(hours=-11)), timezone(timedelta(hours=1))

Rule = Callable[[Any], str | None]
RULES: dict[str, tuple[Rule, Sequence[object], Sequence[object]]] = {
    "amount": (
        fields.amount_error,
        [1, 2, 100, AMOUNT_MAX],
        [
            0, -1, AMOUNT_MAX + 1, 2**64, True, False, 1.0, 2.5, float("nan"), float("inf"), "1", None, [1],
            b"1",
        ],
    ),
    "limit": (partial(fields.amount_error, least=0), [0], [-1, False]),
    "currency": (
        fields.currency_error,
        ["EUR", "USD", "JPY", "KWD", "CLF"],
        ["", "eur", "EURO", "XXX", "XAU", "XTS", "BTC", "EUR ", "ЕUR"],
    ),
    "user id": (
        fields.user_id_error,
        [
            "a", "A-Z.a_z-09", "x" * 128, "-", "...", ".a", "..a", "a.", "." * 128, ".a" * 64,
            "auth0|5f1c", "us-east-1:5f1c", "alice+shop@example.com", "~alice",
        ],
        [
            "", ".", "..", "x" * 129, "." * 129, "." + "x" * 128, "a b", "a\n", "é", "{a}", "a/b", "a%b",
            "\x00", "\ud800",
        ],
    ),
    "e-mail": (
        fields.email_error,
        [
            None, "a@example.com", "a.b+c@sub.example.org", "A@EXAMPLE.com", "o'hara@example.com",
            "a@site.test", "a@host.internal", "a@x.local", "a@localhost", "a@b.invalid", "a@c.LOCAL",
            "a@[192.0.2.1]", '"ab"@example.com', '"a@b"@example.com',
            "ü@example.com", "用户@例え.テスト", "कविता@example.com", "a@xn--r8jz45g.example",
            "u\u0308@example.com",
            f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 55}.local",
        ],
        [
            "", "a", "a@", "@example.com", "a@b@example.com", "a b@example.com", "a@example.com\nBcc: b@c.d",
            "\x1fbad@example.com", "bad@example.com\x1f", "Name <a@b.example>", "<a@b.example>",
            '"\x00" <a@b.example>', '"\x1f" <a@b.example>', " a@b.example", "a@b.example ", "a@b.example\n",
            "a@b.example, c@d.example", '"a b"@example.com', '"a\tb"@example.com', "a\u3000b@example.com",
            "a\u200db@example.com", "a\xadb@example.com", "a\u202eb@example.com", "a@b\u200f.example",
            "a@exam\xadple.com", "a\ud800@b.example", "a@b..example", "a@.local", "❤@example.com",
            f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 56}.local",
        ],
    ),
    "phone": (
        fields.phone_error,
        [None, "+12", "+15550100", "+" + "9" * 15],
        ["", "+", "+1", "15550100", "+05550100", "+" + "9" * 16, "+1 555", "+1555\n", "+١٢٣"],
    ),
    "text": (
        partial(fields.text_error, least=1, most=128),
        # A text is as long as it is in NFC: U+0958 is two characters there.
        [None, "x", "x" * 128, "e\u0301" * 128, "\u0958" * 64, *ODD_TEXTS],
        ["", "x" * 129, "a\nb", "a\tb", "a\u2028b", "a\u2029b", *HARMFUL_TEXTS],
    ),
    "optional text": (partial(fields.text_error, least=0, most=500), [""], []),
    "text of several lines": (
        partial(fields.text_error, least=1, most=500, lines=True),
        ["a\nb", "a\n\tb", "a\u2028b", "a\u2029b", *ODD_TEXTS],
        HARMFUL_TEXTS,
    ),
    "code": (fields.code_error, ["1", "x" * 64, "\x00"], ["", "x" * 65]),
    "key": (
        fields.key_error,
        [None, "k", "k" * 255, "with space inside", "~!"],
        ["", "k" * 256, " k", "k ", "a\nb", "é", "\x7f", "\x00"],
    ),
    "time": (
        fields.time_error,
        [
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2026, 1, 1, tzinfo=WEST),
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=UTC),
        ],
        [
            datetime(2026, 1, 1),  # noqa: DTZ001
            datetime(9999, 12, 31, 23, tzinfo=WEST),
            datetime(1, 1, 1, tzinfo=EAST),
        ],
    ),
    "page": (fields.page_error, [1, 100], [0, 101, -1]),
    "cursor of entries": (partial(fields.cursor_error, form=fields.ENTRY_CURSOR), ["", "17"], ["0x10", "-1"]),
    "cursor of the journal": (
        partial(fields.cursor_error, form=fields.JOURNAL_CURSOR),
        ["1783252800000-0"],
        ["1783252800000", "(1-1"],
    ),
    "cursor of payments": (
        partial(fields.cursor_error, form=fields.PAYMENT_CURSOR),
        ["pay_00abc"],
        ["pay_00abc\n", "x" * 65],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "is_right"),
    [
        (name, value, is_right)
        for name, (_, right, wrong) in RULES.items()
        for is_right, values in ((True, right), (False, wrong))
        for value in values
    ],
)
def test_a_field_takes_right_values_and_refuses_wrong_ones(name: str, value: object, is_right: bool) -> None:
    assert (RULES[name][0](value) is None) == is_right


@pytest.mark.parametrize("text", ["\u0958" * 65, "a" + "\u0301\u0323" * 100_000], ids=["65", "100,000"])
def test_a_text_that_is_too_long_in_nfc_is_refused_with_the_bounds(text: str) -> None:
    assert fields.text_error(text, 1, 128) == "has to be 1 to 128 characters"


@pytest.mark.parametrize(
    "typed",
    [
        "123456", "123 456", " 123456\n", "123-456", "123\u2013456", "\u3000-1-2-3-4-5-6-", "１２３４５６",
        "١٢٣٤٥٦", "۱۲۳۴۵۶", "۱۲۳\xa0-\u2003٤٥６", "१२३४५६", "\x0b123\x1c456\x85",
    ],
)  # fmt: skip
def test_a_code_is_normalised_to_its_digits(typed: str) -> None:
    assert fields.normalise_code(typed) == "123456"


@pytest.mark.parametrize("typed", ["¹²³", "①②③", "abc", "12345O", "\x00", "\ud800", "一二三"])
def test_characters_that_are_no_decimal_digits_stay_as_typed(typed: str) -> None:
    assert fields.normalise_code(typed) == typed


def test_a_code_of_white_space_is_normalised_to_nothing() -> None:
    assert fields.normalise_code(" -\t\u2003- ") == ""


@pytest.mark.parametrize("record_id", ["pay_00v", "wal_000", "inv_001-1", "msg_ff1-0", "pay_00Az-_9"])
def test_a_well_formed_id_is_kept(record_id: str) -> None:
    assert fields.id_or_unknown(record_id) == record_id


@pytest.mark.parametrize(
    "record_id",
    [
        "", "x", "pay_", "pay_é", "pay_ z", "pay_000\n", "pay_00", "pay_0g0", "pay_00}", "PAY_000", "}:meta",
        "usr_000", "pay_" + "0" * 61,
    ],
)  # fmt: skip
def test_an_ill_formed_id_is_unknown(record_id: str) -> None:
    assert fields.id_or_unknown(record_id) == "unknown"


def test_every_wrong_field_is_named() -> None:
    fields.require([("amount", None)])
    with pytest.raises(ValidationFailed) as refused:
        fields.require([("amount", "is odd"), ("currency", None), ("merchant", "is empty")])

    assert refused.value.errors == (FieldError("amount", "is odd"), FieldError("merchant", "is empty"))
    assert str(refused.value) == "amount: is odd; merchant: is empty"


def test_only_a_loopback_address_or_name_is_this_machine_alone() -> None:
    hosts = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "LOCALHOST"]
    others = ["0.0.0.0", "::", "192.0.2.1", "pay.example", "127.0.0.1.example", "localhost.example", ""]

    assert [host for host in hosts + others if fields.is_loopback(host)] == hosts
