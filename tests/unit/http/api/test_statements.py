"""Statements as CSV: read back, they are what was written, and no cell is a formula."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from technopay.engine import Entry, Statement
from technopay.http.api.statements import COLUMNS, statement_csv

AT = datetime(2036, 1, 2, 9, 30, 41, 120_000, tzinfo=UTC)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＠x", "=", '=HYPERLINK("x","y")')


def entry(amount: int = -1_250, **texts: str | None) -> Entry:
    names = ("payment_id", "refund_id", "reference", "note", "by")
    return Entry(amount=amount, balance_after=5, kind="adjustment", at=AT, **{**dict.fromkeys(names), **texts})


def statement(*entries: Entry, has_more: bool = False) -> Statement:
    following = "0.1.2" if has_more else None
    return Statement(
        opening_balance=1_255, closing_balance=5, data=list(entries), has_more=has_more, next_cursor=following,
        currency="EUR",
    )  # fmt: skip


def read(text: str) -> list[dict[str, str]]:
    assert text.endswith("\r\n")
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert tuple(header) == COLUMNS
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_statement_is_its_entries_between_the_balances() -> None:
    text = statement_csv(statement(entry(note="Grüße, „Öl“")), is_first=True)
    assert text.split("\r\n") == [
        "at,kind,amount,balance_after,currency,payment_id,refund_id,reference,note,by",
        ",opening_balance,,1255,EUR,,,,,",
        '2036-01-02T09:30:41.120Z,adjustment,-1250,5,EUR,,,,"Grüße, „Öl“",',
        ",closing_balance,,5,EUR,,,,,",
        "",
    ]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("has_more", [True, False])
def test_only_the_first_page_has_the_opening_and_only_the_last_the_closing_balance(
    *, is_first: bool, has_more: bool
) -> None:
    kinds = [
        row["kind"] for row in read(statement_csv(statement(entry(), has_more=has_more), is_first=is_first))
    ]
    assert kinds == ["opening_balance"] * is_first + ["adjustment"] + ["closing_balance"] * (not has_more)


def test_a_text_that_begins_like_a_formula_is_quoted_as_text_and_a_number_is_not() -> None:
    for formula in FORMULAS:
        for column in ("reference", "note", "by", "payment_id", "refund_id"):
            [row] = read(
                statement_csv(statement(entry(-1_250, **{column: formula}), has_more=True), is_first=False)
            )
            assert (row[column], row["amount"]) == (f"'{formula}", "-1250")
    for plain in ("1+1=2", "a@b", "'=1", " =1", "–1", "''"):
        [row] = read(statement_csv(statement(entry(note=plain), has_more=True), is_first=False))
        assert row["note"] == plain


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(-(2**53), 2**53))
def test_every_text_and_amount_comes_back(text: str, amount: int) -> None:
    [row] = read(statement_csv(statement(entry(amount, note=text, by=text), has_more=True), is_first=False))
    assert (row["note"].removeprefix("'"), int(row["amount"])) == (text.removeprefix("'"), amount)
    assert row["note"] == row["by"]
    assert row["note"][0] not in "=+-@\t\r\n"
