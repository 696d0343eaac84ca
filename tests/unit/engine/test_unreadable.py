"""Unreadable records: counted and logged once, by the id alone, in bounded memory."""

import pytest

from technopay.engine.statistics import UNREADABLE_KNOWN_MAX, UnreadableRecords


def test_a_record_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    unreadable = UnreadableRecords()

    for _ in range(3):
        unreadable.note("payment", "pay_1", ValueError("alice@example.com"))
    unreadable.note("wallet", "pay_1")

    assert unreadable.counts == {"payment": 1, "wallet": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "payment 'pay_1' cannot be read (ValueError); all others go on",
        "wallet 'pay_1' cannot be read; all others go on",
    ]


def test_an_id_is_shown_as_one_line_and_not_in_full_length(caplog: pytest.LogCaptureFixture) -> None:
    UnreadableRecords().note("agenda", "a\nb" * 1_000)

    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 300


def test_only_the_latest_are_known_by_their_ids() -> None:
    unreadable = UnreadableRecords()

    for number in range(2 * UNREADABLE_KNOWN_MAX):
        unreadable.note("payment", str(number))

    assert unreadable.counts["payment"] == 2 * UNREADABLE_KNOWN_MAX
    assert len(unreadable._known) == UNREADABLE_KNOWN_MAX
