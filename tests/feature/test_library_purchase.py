"""A purchase through the library: started, confirmed, settled; the result, debit and messages of each step."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup

from technopay.engine import Engine, Limit
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

UNCHANGED = {"id", "invoice_id", "wallet_id", "user_id", "amount", "currency", "merchant", "created_at"}


def dumped(limit: Limit, used: int) -> dict[str, Any]:
    return limit.model_dump() | {"used": used, "remaining": 50_000 - used}


async def test_a_started_payment_shows_everything_known_before_the_debit(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    limit = await engine.set_limit(currency="EUR", amount=50_000)
    invoice = await alice.invoice(2_500, "bookshop")

    payment = await alice.start(invoice)

    assert payment.id.startswith("pay_")
    assert payment.confirmation is not None
    assert abs(payment.confirmation.expires_at - payment.created_at) == timedelta(seconds=300)
    assert payment.model_dump(exclude={"id", "created_at"}) == {
        "invoice_id": invoice.id,
        "wallet_id": alice.wallet_id,
        "user_id": "alice",
        "amount": 2_500,
        "currency": "EUR",
        "merchant": "bookshop",
        "status": "requires_confirmation",
        "paid_at": None,
        "settled_at": None,
        "balance_before": None,
        "balance_after": None,
        "confirmation": {
            "method": "email",
            "sent_to": "a***@example.com",
            "expires_at": payment.confirmation.expires_at,
            "attempts_remaining": 5,
            "resends_remaining": 3,
        },
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [dumped(limit, 0)],
        "set_aside": False,
        "metadata": {},
    }


async def test_a_purchase_succeeds(alice: Setup) -> None:
    """Nothing else: a planted breakage has to leave this much whole."""
    payment = await alice.start()
    assert (await alice.confirm(payment, await alice.right_code(payment))).status == "succeeded"


async def test_the_code_from_the_inbox_pays_the_invoice(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    limit = await engine.set_limit(currency="EUR", amount=50_000)
    payment = await alice.start(await alice.invoice(2_500, "bookshop"))
    code = (await alice.message("confirmation.code")).message
    assert code.text == f"{code.code} is your code to pay 25.00 EUR to bookshop. Give it to nobody."
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    paid = await alice.confirm(payment, code.code)

    assert paid.paid_at is not None
    assert paid.settled_at is not None
    assert max(before, payment.created_at) <= paid.paid_at <= paid.settled_at <= datetime.now(UTC)
    assert paid.model_dump(include=UNCHANGED) == payment.model_dump(include=UNCHANGED)
    assert paid.model_dump(exclude=UNCHANGED | {"paid_at", "settled_at"}) == {
        "status": "succeeded",
        "balance_before": 10_000,
        "balance_after": 7_500,
        "confirmation": None,
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [dumped(limit, 2_500)],
        "set_aside": False,
        "metadata": {},
    }
    assert await alice.balance() == 7_500
    invoice = await engine.get_invoice(user_id="alice", invoice_id=payment.invoice_id)
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("paid", payment.id, paid.paid_at)
    entry = (await engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)).data[0]
    assert (entry.kind, entry.payment_id, entry.at) == ("payment", paid.id, paid.paid_at)
    success = (await alice.message("payment.succeeded")).message
    assert (success.payment_id, success.to, success.channel) == (paid.id, "alice@example.com", "email")
    assert (success.text, success.code) == ("You paid 25.00 EUR to bookshop.", None)
