"""Replies of scripts become outcomes, by the result type of a command."""

from collections.abc import Sequence
from typing import Any

import pytest

from technopay.engine.errors import InternalError
from technopay.engine.models import Invoice, Payment, Wallet
from technopay.engine.ports import Outcome
from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import Due
from technopay.storage.business_days import Calendar
from technopay.storage.decode import Reply, outcome_of

WALLET = [
    "wal_1",
    ["user", "alice", "currency", "EUR", "balance", "7", "status", "active", "created_at", "1"],
]


def decode(result: Any, body: Sequence[Any], code: str = "ok") -> Outcome[Any]:
    return outcome_of(result, Reply(code, 1, "7", body), 0, Calendar("UTC"), UnreadableRecords())


def test_a_replayed_reply_is_as_good_as_a_fresh_one_but_brings_no_token() -> None:
    fresh, replayed = decode(Wallet, [WALLET]), decode(Wallet, [WALLET], "replayed")
    assert fresh.value is not None
    assert fresh.value.id == "wal_1"
    assert (fresh.code, fresh.token, fresh.replayed) == ("ok", "7", False)
    assert (replayed.code, replayed.value, replayed.token, replayed.replayed) == ("ok", fresh.value, "", True)


def test_a_refusal_has_a_value_only_if_its_reply_has_a_record() -> None:
    assert decode(Wallet, [WALLET], "balance_too_large").value == decode(Wallet, [WALLET]).value
    for result, body in ((Wallet, []), (Payment, ["", []]), (Invoice, ["", ["invoice_id", "inv_1"]])):
        assert decode(result, body, "a_refusal").value is None
    assert decode(Invoice, ["", ["invoice_id", "inv_1"]], "reference_used").details == {"invoice_id": "inv_1"}


@pytest.mark.parametrize("record", ["wal_1", ["wal_1"], ["wal_1", ["user"]], ["wal_1", ["user", "alice"]]])
def test_a_record_that_cannot_be_read_is_a_defect(record: Any) -> None:
    with pytest.raises(InternalError):
        decode(Wallet, [record])


def test_a_message_of_a_payment_that_is_gone_has_no_context() -> None:
    taken = ["5-1", "payment.failed", "email", "2", "3", "", "too_many_attempts", ""]
    due = decode(Due, [[], [taken], "", [], []]).value
    assert due is not None
    (message,) = due.messages
    assert (message.channel, message.attempts, message.claim) == ("email", 2, "3")
    notification = message.notification
    assert (notification.entry_id, notification.kind, notification.context) == ("5-1", "payment.failed", None)
    assert (notification.code_version, notification.reason) == (None, "too_many_attempts")
