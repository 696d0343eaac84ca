"""A record that is built without validation behaves as one that is validated."""

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError
from support.fixtures.doubles import make_payment

from technopay.engine import Confirmation, Entry, Invoice, Limit, Message, OperatorPayment, User, Wallet
from technopay.engine.models import Failure, Refund, Resolution
from technopay.engine.record import Record, from_ms

AT = from_ms(1_783_252_800_123)
LIMIT: dict[str, Any] = {
    "rule": "global", "window": "day", "currency": "EUR", "limit": None, "used": 2**53 - 1, "remaining": None,
    "resets_at": AT, "pending": False,
}  # fmt: skip
FIELDS: list[tuple[type[Record], dict[str, Any]]] = [
    (
        User,
        {
            "id": "alice", "status": "active", "email": "a@b.c", "phone": None, "locked_until": None,
            "created_at": AT,
        },
    ),
    (
        Wallet,
        {
            "id": "wal_1", "user_id": "alice", "currency": "EUR", "balance": 0, "status": "active",
            "created_at": AT,
        },
    ),
    (
        Invoice,
        {
            "id": "inv_1", "user_id": "alice", "amount": 1, "currency": "EUR", "merchant": "Café",
            "description": None, "reference": "r", "status": "paid", "refunded_amount": 0, "expires_at": AT,
            "paid_at": AT, "payment_id": "pay_1", "created_at": AT, "metadata": {"order": "7"},
        },
    ),
    (Limit, LIMIT),
    (
        Confirmation,
        {
            "method": "sms", "sent_to": "+1•••0100", "expires_at": AT, "attempts_remaining": 5,
            "resends_remaining": 3,
        },
    ),
    (Failure, {"code": "settlement_failed", "message": "The amount is back."}),
    (
        Refund,
        {
            "id": "ref_1", "amount": 1, "at": AT, "reason": "settlement_failed", "note": None, "status": "done",
        },
    ),
    (Resolution, {"outcome": "refund", "note": "as asked", "by": "operator", "at": AT}),
    (
        Entry,
        {
            "amount": -1, "balance_after": 0, "kind": "payment", "payment_id": "pay_1", "refund_id": None,
            "reference": None, "note": None, "by": None, "at": AT,
        },
    ),
    (
        Message,
        {
            "id": "msg_1", "event_id": "evt_1", "user_id": "alice", "channel": "email", "to": "a@b.c",
            "kind": "payment.succeeded", "status": "sent", "attempts": 1, "last_error": None, "at": AT,
        },
    ),
]  # fmt: skip


def pair(record_type: type[Record], fields: dict[str, Any]) -> tuple[Record, Record]:
    """Build a record without validation, and with."""
    return record_type.trusted(**fields), record_type.model_validate(fields)


def payments() -> tuple[Record, Record]:
    """Build a payment with all optional parts, from records built in the same way."""
    whole: dict[str, Any] = {
        name: record_type.model_validate(fields) for name, (record_type, fields) in PARTS.items()
    }
    whole |= {"refunds": [Refund.model_validate(REFUND)], "limits": [Limit.model_validate(LIMIT)]}
    judged = OperatorPayment(**{**dict(make_payment(paid_at=AT)), **whole})
    parts: dict[str, Any] = {
        name: record_type.trusted(**fields) for name, (record_type, fields) in PARTS.items()
    }
    parts |= {"refunds": [Refund.trusted(**REFUND)], "limits": [Limit.trusted(**LIMIT)]}
    return type(judged).trusted(**(dict(judged) | parts)), judged


PARTS = {
    "confirmation": FIELDS[4],
    "failure": FIELDS[5],
    "resolution": FIELDS[7],
}
REFUND = FIELDS[6][1]
PAIRS = [*(pair(*each) for each in FIELDS), payments()]
each_record = pytest.mark.parametrize(
    ("trusted", "judged"), PAIRS, ids=[type(judged).__name__ for _, judged in PAIRS]
)


@each_record
def test_it_is_equal_and_has_the_same_repr_and_dumps(trusted: Record, judged: Record) -> None:
    assert trusted == judged
    assert judged == trusted
    assert repr(trusted) == repr(judged)
    assert trusted.model_fields_set == judged.model_fields_set
    assert [*trusted] == [*judged], "the fields come in the same order"
    options: list[dict[str, Any]] = [{}, {"mode": "json"}, {"exclude_unset": True, "exclude_none": True}]
    assert all(trusted.model_dump(**each) == judged.model_dump(**each) for each in options)
    assert trusted.model_dump_json() == judged.model_dump_json()
    assert type(judged).model_validate(trusted.model_dump()) == judged
    assert type(judged).model_validate_json(trusted.model_dump_json()) == judged


@each_record
def test_it_cannot_be_changed(trusted: Record, judged: Record) -> None:
    name = next(iter(type(trusted).model_fields))

    with pytest.raises(ValidationError, match="frozen"):
        setattr(trusted, name, getattr(judged, name))
    with pytest.raises(ValidationError, match="frozen"):
        delattr(trusted, name)
    with pytest.raises(ValidationError):
        trusted.something_else = 1  # type: ignore[attr-defined]
    assert trusted == judged


@each_record
def test_a_replay_of_it_is_marked_and_leaves_it_alone(trusted: Record, judged: Record) -> None:
    replay = trusted.as_replay()

    assert (trusted.replayed, replay.replayed, replay.as_replay().replayed) == (False, True, True)
    assert not type(trusted).trusted(**dict(trusted)).replayed, "the mark is of one record, not of all"
    assert replay.model_dump() == judged.model_dump()
    assert replay.model_dump_json() == judged.model_dump_json()
    assert replay == judged.as_replay()


@each_record
def test_it_can_be_copied_and_sent_elsewhere(trusted: Record, judged: Record) -> None:
    copies = [
        trusted.model_copy(),
        trusted.model_copy(deep=True),
        copy.copy(trusted),
        copy.deepcopy(trusted),
        pickle.loads(pickle.dumps(trusted)),
    ]

    assert all(each == judged for each in copies)
    assert not any(each.replayed for each in copies)
    assert pickle.loads(pickle.dumps(trusted.as_replay())).replayed
    change = {next(iter(type(trusted).model_fields)): "changed"}
    assert trusted.model_copy(update=change) == judged.model_copy(update=change)
    assert trusted == judged


@pytest.mark.parametrize(("record_type", "fields"), [FIELDS[1], FIELDS[3]], ids=["Wallet", "Limit"])
def test_it_can_be_in_a_set(record_type: type[Record], fields: dict[str, Any]) -> None:
    assert len({*pair(record_type, fields)}) == 1
