"""Reads a settlement file: UTF-8, separated by commas, with the columns key, amount, currency and outcome."""

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from technopay.engine.fields import amount_error, currency_error, text_error
from technopay.engine.reconciliation.book import Row, RowBook
from technopay.engine.reconciliation.models import outcome_error

COLUMNS = ("key", "amount", "currency", "outcome")
LINE_BYTES_MAX = 64 * 1024
DIGITS = re.compile("[0-9]{1,16}")


class FileError(Exception):
    """Raised when a file cannot be compared; names row and column."""


def read_file(path: Path, book: RowBook) -> None:
    """Add the rows of a file, numbered as in a spreadsheet: the row of the names of the columns is the first.

    Raises:
        FileError: it is no settlement file, or has a key twice.

    """
    try:
        with path.open("rb") as file:
            _read(_lines(iter(lambda: file.readline(LINE_BYTES_MAX), b"")), book)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    except FileError as error:
        raise FileError(f"{path.name} {error}") from None


def _lines(lines: Iterator[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise FileError("is UTF-16: save it as UTF-8")
        if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
            raise FileError(f"row {number} is longer than {LINE_BYTES_MAX:,} bytes")
        try:
            # Spreadsheets write a byte order mark at the beginning.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise FileError(f"row {number} is not UTF-8") from None


def _read(lines: Iterator[str], book: RowBook) -> None:
    reader = csv.reader(lines, strict=True)
    try:
        header: list[str] = next(reader, [])
        columns = _columns_of(header)
        for cells in reader:
            if not cells:
                continue  # an empty line
            if len(cells) != len(header):
                raise FileError(f"row {reader.line_num} has {len(cells)} columns, row 1 has {len(header)}")
            row = _row_of(reader.line_num, {name: cells[place] for name, place in columns.items()})
            if earlier := book.add(row):
                raise FileError(f"row {row.number}, column key: is that of row {earlier}, too")
    except csv.Error as error:
        raise FileError(f"row {reader.line_num} is not CSV: {error}") from None


def _columns_of(header: list[str]) -> Mapping[str, int]:
    """Return the places of the columns; others are left out."""
    if not any(header):
        raise FileError("is empty: its first row has to have the names of its columns")
    if len(header) == 1 and re.search("[;\t|]", header[0]):
        raise FileError("row 1 has one column: columns have to be separated by commas")
    for name in COLUMNS:
        if header.count(name) != 1:
            how_often = "no" if name not in header else "more than one"
            raise FileError(f"row 1 has {how_often} column {name}; needed are {', '.join(COLUMNS)}")
    return {name: header.index(name) for name in COLUMNS}


def _row_of(number: int, cells: Mapping[str, str]) -> Row:
    amount = int(cells["amount"]) if DIGITS.fullmatch(cells["amount"]) else None
    checks: Mapping[str, Callable[[], str | None]] = {
        "key": lambda: text_error(cells["key"], 1, 128),
        "amount": lambda: amount_error(amount),
        "currency": lambda: currency_error(cells["currency"]),
        "outcome": lambda: outcome_error(cells["key"], cells["outcome"]),
    }
    for name, check in checks.items():
        if error := check():
            raise FileError(f"row {number}, column {name}: {error}")
    assert amount is not None
    return Row(number, cells["key"], amount, cells["currency"], cells["outcome"])
