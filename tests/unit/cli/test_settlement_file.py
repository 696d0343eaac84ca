"""Settlement files: what is read, and how each fault is named by row and column."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from technopay.cli.reconciliation.settlement_file import LINE_BYTES_MAX, FileError, read_file
from technopay.engine.fields import AMOUNT_MAX
from technopay.engine.reconciliation.book import Row, RowBook

HEADER = b"key,amount,currency,outcome\n"
GOOD = b"pay_1,5,EUR,settled\n"


@pytest.fixture
def book() -> Iterator[RowBook]:
    with closing(RowBook()) as made:
        yield made


def read(folder: Path, book: RowBook, content: bytes) -> list[Row]:
    file = folder / "file.csv"
    file.write_bytes(content)
    read_file(file, book)
    return [row for rows in book.batches(2) for row in rows]


def test_columns_have_any_order_others_are_left_out_and_rows_are_numbered_as_in_a_spreadsheet(
    tmp_path: Path, book: RowBook
) -> None:
    content = 'fee,currency,outcome,key,amount,text\r\n1,EUR,settled,pay_1,5,"a, ""b"""\r\n\r\n'
    content += f"2,JPY,reversed,ref_1,{AMOUNT_MAX},é\r\n3,EUR,pending,else,1,"
    assert read(tmp_path, book, content.encode()) == [
        Row(2, "pay_1", 5, "EUR", "settled"),
        Row(4, "ref_1", AMOUNT_MAX, "JPY", "reversed"),
        Row(5, "else", 1, "EUR", "pending"),
    ]


def test_a_byte_order_mark_at_the_beginning_is_left_out(tmp_path: Path, book: RowBook) -> None:
    content = b"\xef\xbb\xbf" + HEADER + GOOD
    assert read(tmp_path, book, content) == [Row(2, "pay_1", 5, "EUR", "settled")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: its first row has to have the names of its columns"),
        (b"\n", "is empty: its first row has to have the names of its columns"),
        (HEADER.decode().encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (HEADER.replace(b",", b";"), "row 1 has one column: columns have to be separated by commas"),
        (b"key,amount,currency\n", "row 1 has no column outcome; needed are key, amount, currency, outcome"),
        (b"key,key,amount,currency,outcome\n", "row 1 has more than one column key"),
        (GOOD, "row 1 has no column key"),
        (HEADER + GOOD + b"pay_\xe9,5,EUR,settled\n", "row 3 is not UTF-8"),
        (
            HEADER + b"pay_2,12.50,EUR,settled\n",
            "row 2, column amount: has to be a whole number of minor units",
        ),
        (HEADER + b"pay_2,-5,EUR,settled\n", "row 2, column amount: has to be a whole number"),
        (HEADER + b"pay_2,,EUR,settled\n", "row 2, column amount: has to be a whole number"),
        (HEADER + b"pay_2,0,EUR,settled\n", f"row 2, column amount: has to be 1 to {AMOUNT_MAX}"),
        (HEADER + "pay_2,٣,EUR,settled\n".encode(), "row 2, column amount: has to be a whole number"),
        (HEADER + b"pay_2,5,eur,settled\n", "row 2, column currency: has to be an ISO 4217 code"),
        (
            HEADER + b"pay_2,5,EUR,reversed\n",
            "row 2, column outcome: has to be settled, declined, called_off or",
        ),
        (HEADER + b"ref_2,5,EUR,settled\n", "row 2, column outcome: has to be reversed, declined or pending"),
        (
            HEADER + b"x,5,EUR,paid\n",
            "row 2, column outcome: has to be settled, declined, called_off, reversed or",
        ),
        (HEADER + b",5,EUR,settled\n", "row 2, column key: has to be 1 to 128 characters"),
        (HEADER + GOOD + GOOD, "row 3, column key: is that of row 2, too"),
        (HEADER + b"pay_2,5,EUR\n", "row 2 has 3 columns, row 1 has 4"),
        (HEADER + b"pay_2,12,50,EUR,settled\n", "row 2 has 5 columns, row 1 has 4"),
        (HEADER + b'pay_2,"5,EUR,settled\n', "row 2 is not CSV"),
        (HEADER + b"pay_2\x00,5,EUR,settled\n", "row 2"),
        (HEADER + b"x" * LINE_BYTES_MAX, "row 2 is longer than 65,536 bytes"),
    ],
)
def test_a_fault_is_named_by_row_and_column(
    tmp_path: Path, book: RowBook, content: bytes, message: str
) -> None:
    with pytest.raises(FileError) as refused:
        read(tmp_path, book, content)
    assert str(refused.value).startswith(f"file.csv {message}")
    assert "\n" not in str(refused.value)
