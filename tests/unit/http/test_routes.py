"""Answers made from records."""

from __future__ import annotations

import json

from technopay.engine import Limit, Wallet
from technopay.engine.models import from_ms
from technopay.http.forms import PageQuery
from technopay.http.routes import answer_with, answer_with_limits

AT = from_ms(0)
WALLET = Wallet(id="wal_1", user_id="alice", currency="EUR", balance=0, status="active", created_at=AT)
LIMITS = [
    Limit(currency=currency, limit=1, used=0, remaining=1, resets_at=AT) for currency in ("CHF", "EUR", "USD")
]


def test_what_was_made_is_201_with_its_location_also_when_it_is_answered_again() -> None:
    made = answer_with(WALLET, location="/w")
    again = answer_with(WALLET.model_copy().as_replay(), location="/w")

    assert (made.status, dict(made.headers)) == (201, {"Location": "/w"})
    assert (again.status, dict(again.headers)) == (201, {"Location": "/w", "Idempotent-Replayed": "true"})
    assert made.body == again.body


def test_what_was_only_read_is_200() -> None:
    assert (answer_with(WALLET).status, dict(answer_with(WALLET).headers)) == (200, {})


def test_limits_are_cut_into_pages() -> None:
    seen, cursor = [], ""
    while cursor is not None:
        page = json.loads(answer_with_limits(LIMITS, PageQuery(limit=2, cursor=cursor)).body)
        seen.append([limit["currency"] for limit in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)

    assert seen == [["CHF", "EUR"], ["USD"]]


def test_a_full_last_page_has_no_next() -> None:
    page = json.loads(answer_with_limits(LIMITS, PageQuery(limit=3)).body)

    assert (len(page["data"]), page["has_more"], page["next_cursor"]) == (3, False, None)
