import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.fixtures.doubles import make_payment

from technopay.engine import Limit, Page, Payment
from technopay.engine.record import from_ms, to_ms

YEAR_1_MS, YEAR_9999_MS = -62_135_596_800_000, 253_402_300_799_999


@given(st.integers(YEAR_1_MS, YEAR_9999_MS))
def test_milliseconds_survive_the_way_there_and_back(at_ms: int) -> None:
    assert to_ms(from_ms(at_ms)) == at_ms
    assert from_ms(str(at_ms)) == from_ms(at_ms)


@pytest.mark.parametrize(
    ("at_ms", "at"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1, datetime(1970, 1, 1, microsecond=1_000, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        (1_783_252_800_999, datetime(2026, 7, 5, 12, 0, 0, 999_000, tzinfo=UTC)),
        (YEAR_9999_MS, datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
    ],
)
def test_milliseconds_are_exact_times(at_ms: int, at: datetime) -> None:
    assert from_ms(at_ms) == at
    assert to_ms(at) == at_ms


def test_what_is_finer_than_a_millisecond_is_cut_off() -> None:
    assert to_ms(datetime(2026, 7, 5, 12, 0, 0, 999_999, tzinfo=UTC)) == 1_783_252_800_999


def test_an_offset_names_the_same_instant() -> None:
    assert to_ms(datetime(2026, 7, 5, 14, tzinfo=timezone(timedelta(hours=2)))) == 1_783_252_800_000


def test_times_are_rfc_3339_in_utc_with_milliseconds() -> None:
    payment = make_payment(
        created_at=from_ms(1_783_252_800_000),
        paid_at=datetime(2026, 7, 5, 14, 0, 0, 1_999, tzinfo=timezone(timedelta(hours=2))),
    )

    shown = json.loads(payment.model_dump_json())

    assert shown["created_at"] == "2026-07-05T12:00:00.000Z"
    assert shown["paid_at"] == "2026-07-05T12:00:00.001Z"
    assert shown["settled_at"] is None


def test_a_payment_shows_the_fields_of_the_contract_and_no_more() -> None:
    assert [*json.loads(make_payment().model_dump_json())] == [
        "id", "invoice_id", "wallet_id", "user_id", "amount", "currency", "merchant", "status", "created_at",
        "paid_at", "settled_at", "balance_before", "balance_after", "confirmation", "failure",
        "refunded_amount", "refunds", "limits", "set_aside", "metadata",
    ]  # fmt: skip


def test_large_amounts_stay_whole_numbers() -> None:
    limit = Limit(currency="EUR", limit=2**53 - 1, used=0, remaining=2**53 - 1, resets_at=from_ms(0))

    assert '"limit":9007199254740991,' in limit.model_dump_json()


@pytest.mark.parametrize(
    ("status", "set_aside", "is_at_rest"),
    [
        ("requires_confirmation", False, False),
        ("processing", False, False),
        ("processing", True, True),
        ("succeeded", False, True),
        ("failed", False, True),
        ("canceled", False, True),
        ("expired", False, True),
        ("refunding", False, False),
        ("refunding", True, True),
        ("refunded", False, True),
    ],
)
def test_a_payment_is_at_rest_when_it_is_final_or_set_aside(
    status: str, set_aside: bool, is_at_rest: bool
) -> None:
    assert make_payment(status=status, set_aside=set_aside).is_at_rest == is_at_rest


def test_an_unknown_status_is_no_payment() -> None:
    with pytest.raises(ValidationError):
        make_payment(status="lost")


def test_a_page_tells_where_to_go_on() -> None:
    page = Page[Payment](data=[make_payment()], has_more=True, next_cursor="1-0")

    assert json.loads(page.model_dump_json())["next_cursor"] == "1-0"
