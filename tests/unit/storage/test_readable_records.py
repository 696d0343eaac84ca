"""Records that cannot be read: the audit names them, and no reader takes them for whole."""

from typing import Any

import pytest

from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import BEGINNING
from technopay.storage.audit.checks import compare_message, compare_type, compare_user
from technopay.storage.journal import batch_of
from technopay.storage.refunds import refunds_from


@pytest.mark.parametrize(
    ("found", "what"), [("list", ["type"]), (["?"], ["reply"]), ("hash", []), ("none", [])]
)
def test_a_key_of_another_type_is_reported(found: Any, what: list[str]) -> None:
    assert [each.what for each in compare_type("user:alice", "hash", found)] == what


@pytest.mark.parametrize(("address", "what"), [("alice@example.com", []), ("alice\x00@example.com", ["email"])])
def test_an_address_that_no_user_can_have_is_reported(address: str, what: list[str]) -> None:
    fields = ["status", "active", "created_at", "1", "email", address]
    expected: Any = {"status": "active"}
    assert [each.what for each in compare_user("alice", expected, fields)] == what


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (("waiting", "email", "1", None), []),
        (("lost", "email", "1", None), ["message"]),
        (("waiting", "pigeon", "1", None), ["message"]),
        (("waiting", "email", "many", None), ["message"]),
        ((None, None, None, None), []),
    ],
)
def test_a_message_that_cannot_be_sent_is_reported(record: Any, what: list[str]) -> None:
    assert [each.what for each in compare_message("1-0", (record, 1, 1))] == what


def test_an_entry_that_cannot_be_read_is_noted_and_left_out() -> None:
    unreadable = UnreadableRecords()
    batch = batch_of([["1-0", ["user.created", "alice"]], ["2-0", ["?"]]], BEGINNING, 9, unreadable)
    assert ([each.id for each in batch.entries], str(batch.end)) == (["1-0"], "2-0")
    assert batch.is_last


def test_a_refund_of_an_unknown_status_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="no such status"):
        refunds_from("1-0 100 1 lost", "", "pay_001")
