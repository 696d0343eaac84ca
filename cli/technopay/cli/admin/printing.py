"""Prints records: as tables for people, or as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from technopay.cli.admin.verbs import COLUMNS
from technopay.engine.models import Statement
from technopay.engine.notifications.texts import money
from technopay.engine.record import Record

MONEY = {
    "amount",
    "balance",
    "balance_before",
    "balance_after",
    "refunded_amount",
    "limit",
    "used",
    "remaining",
}
PIPE_WIDTH = 250
"""Without a terminal, lines are not cut to one's width."""


def print_record(record: Record, *, as_json: bool) -> None:
    """Print one record, whole."""
    if as_json:
        print(record.model_dump_json(indent=2))
        return
    table = Table("field", "value")
    shown = record.model_dump(mode="json")
    for name, value in shown.items():
        table.add_row(name, Text(_cell(name, value, shown.get("currency"))))
    _console().print(table)


def print_records(records: Sequence[Record], currency: str | None = None, *, as_json: bool) -> None:
    """Print a list: a table, or a line of JSON for each record; `currency` is that of records without one."""
    if as_json:
        for record in records:
            print(record.model_dump_json())
        return
    if not records:
        print("technopay: there is nothing to list")
        return
    names = COLUMNS[type(records[0])].split()
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in MONEY else "left")
    for record in records:
        shown = record.model_dump(mode="json")
        table.add_row(*(Text(_cell(name, shown[name], shown.get("currency", currency))) for name in names))
    _console().print(table)


def print_statement(statement: Statement, *, as_json: bool) -> None:
    """Print entries between the balances before and after the whole range; as JSON, it is one document."""
    if as_json:
        print_record(statement, as_json=True)
        return
    currency = statement.currency
    print(f"Opening balance: {money(statement.opening_balance, currency)}")
    print_records(statement.data, currency, as_json=False)
    print(f"Closing balance: {money(statement.closing_balance, currency)}")


def _cell(name: str, value: Any, currency: str | None) -> str:
    if value is None:
        return ""
    if currency and name in MONEY and isinstance(value, int):
        sign = "-" if value < 0 else ""
        return sign + money(abs(value), currency)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)
