"""Parts of a reconciliation: the times of ids, and where in the journal refunds are looked for."""

import time

import pytest

from technopay.engine import SequentialIds
from technopay.engine.reconciliation.book import Row, RowBook
from technopay.engine.reconciliation.journal import ALWAYS_MS, MARGIN_MS, Window, windows_of
from technopay.engine.system import RandomIds, time_in


def test_an_id_of_an_engine_has_its_time_and_another_one_has_none() -> None:
    before = time.time_ns() // 1_000_000
    made = RandomIds().new("ref", 255)
    at_ms = time_in(made)
    assert at_ms is not None
    assert before <= at_ms <= time.time_ns() // 1_000_000
    for other in (
        SequentialIds().new("ref", 0),
        made[:-1],
        f"{made[:-1]}é",
        f"{made}0",
        "ref_00" + "z" * 22,
        "",
    ):
        assert time_in(other) is None


def test_refunds_of_one_time_are_looked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("technopay.engine.reconciliation.journal.time_in", TIMES.get)
    assert list(windows_of(TIMES)) == [
        Window(1_000_000 - MARGIN_MS, 1_000_000 + 2 * MARGIN_MS, 2),
        Window(1_000_001 + 2 * MARGIN_MS, 1_000_001 + 4 * MARGIN_MS, 1),
        Window(0, ALWAYS_MS, 1),
    ]


TIMES = {
    "a": 1_000_000,
    "b": 1_000_000 + MARGIN_MS,
    "c": None,
    "d": 1_000_001 + 3 * MARGIN_MS,
}


def test_refunds_are_read_in_order_by_partition() -> None:
    book = RowBook()
    names = [f"ref_{partition}{number:04}" for partition in ("01", "02") for number in range(600)]
    for number, key in enumerate(reversed([*names, "ref_", "ref_0", "pay_01x"])):
        assert book.add(Row(number, key, 1, "EUR", "reversed")) is None
    assert list(book.refunds(1)) == names[:600]
    assert list(book.refunds(2)) == names[600:]
    assert list(book.refunds(3)) == []
    assert "pay_01x" in book
    assert "pay_01y" not in book
    assert book.note_refund("ref_010000", "pay_1", 5)
    assert not book.note_refund("ref_030000", "pay_1", 5)
    book.close()
