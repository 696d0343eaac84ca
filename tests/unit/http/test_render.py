"""Records as JSON: what is for operators only is left out for users."""

from __future__ import annotations

import json

import pytest

from technopay.engine import Page, Payment, Resolution, Wallet
from technopay.engine.models import from_ms
from technopay.http.render import record_json

AT = from_ms(1_783_252_800_007)
PAYMENT = Payment(
    id="pay_1", invoice_id="inv_1", wallet_id="wal_1", user_id="alice", amount=5, currency="EUR", merchant="Ü",
    status="succeeded", created_at=AT, paid_at=AT, settled_at=AT, balance_before=5, balance_after=0,
    confirmation=None, failure=None, refunded_amount=0, refunds=[], limits=[], set_aside=False,
    resolution=Resolution(outcome="settled", note="asked", by="op", at=AT),
)  # fmt: skip


@pytest.mark.parametrize("operator", [False, True])
def test_a_resolution_is_for_operators_alone_and_in_lists(operator: bool) -> None:
    page = Page[Payment](data=[PAYMENT, PAYMENT], has_more=False, next_cursor=None)

    alone = json.loads(record_json(PAYMENT, operator=operator))
    listed = json.loads(record_json(page, operator=operator))["data"]

    assert ("resolution" in alone) is operator
    assert listed == [alone, alone]


def test_an_empty_page_is_rendered() -> None:
    page = Page[Payment](data=[], has_more=False, next_cursor=None)

    assert json.loads(record_json(page, operator=False)) == {"data": [], "has_more": False, "next_cursor": None}


def test_times_have_milliseconds_and_texts_their_own_letters() -> None:
    text = record_json(PAYMENT, operator=False).decode()

    assert '"paid_at":"2026-07-05T12:00:00.007Z"' in text
    assert '"merchant":"Ü"' in text


def test_a_wallet_is_whole_for_everybody() -> None:
    wallet = Wallet(
        id="wal_1", user_id="alice", currency="EUR", balance=2**53 - 1, status="active", created_at=AT
    )

    assert record_json(wallet, operator=False) == record_json(wallet, operator=True)
    assert json.loads(record_json(wallet, operator=False))["balance"] == 2**53 - 1
