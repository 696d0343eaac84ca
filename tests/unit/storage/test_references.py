"""References: used once per merchant, and free again for good when their invoice is void or expired unpaid."""

from typing import Any

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.script_calls import purchase_in
from support.fixtures.store_commands import list_invoices
from support.fixtures.store_setup import DAY_MS, Setup, new_invoice, operation, value_of

from technopay.engine.models import Invoice
from technopay.engine.ports import Outcome
from technopay.engine.record import from_ms

HOUR_MS = 3_600_000


async def enter(setup: Setup, *, lasts_ms: int = DAY_MS, **changes: Any) -> Outcome[Invoice]:
    at = from_ms(await setup.now_ms() + lasts_ms)
    return await setup.run(new_invoice("alice", 1_000, "EUR", at, **{"reference": "order-7"} | changes))


async def entered(setup: Setup, **changes: Any) -> str:
    outcome = await enter(setup, **changes)
    assert outcome.code == "ok"
    return value_of(outcome).id


async def status_of(setup: Setup, invoice_id: str) -> str:
    return (await setup.read_invoice(invoice_id)).status


async def expire(setup: Setup, invoice_id: str) -> None:
    """Move the expiry of an invoice into the past on each kind of store."""
    await setup.write("invoice", invoice_id, expires_at=await setup.now_ms() - 1)


async def test_a_reference_is_used_once_per_merchant_and_its_holder_is_named(setup: Setup) -> None:
    invoice_id = await entered(setup, merchant="ab", reference="c")
    before = await dump(setup.store)
    refused = await enter(setup, merchant="ab", reference="c")
    assert (refused.code, refused.details) == ("reference_used", {"invoice_id": invoice_id})
    assert await dump(setup.store) == before
    for merchant, reference in (("a", "bc"), ("a:", "bc"), ("ab", None), ("ab", None)):
        await entered(setup, merchant=merchant, reference=reference)


async def test_a_void_invoice_frees_its_reference(setup: Setup) -> None:
    old = await entered(setup)
    assert (await setup.void(old)).code == "ok"

    new = await entered(setup)

    assert (await status_of(setup, old), await status_of(setup, new)) == ("void", "open")
    assert (await enter(setup)).details == {"invoice_id": new}
    assert (await setup.void(old)).code == "ok"
    assert (await enter(setup)).details == {"invoice_id": new}


@pytest.mark.parametrize("started", [False, True])
async def test_an_invoice_that_expired_unpaid_frees_its_reference_and_is_expired_for_good(
    setup: Setup, *, started: bool
) -> None:
    old, wallet = await entered(setup), await setup.wallet()
    payment = await setup.started(wallet, old) if started else None
    await expire(setup, old)
    before = await setup.journal()

    new = await entered(setup)

    assert (await setup.fields("invoice", old))["status"] == "expired"
    assert [(kind, said.get("invoice") or said.get("payment")) for kind, said in await setup.news(before)] == [
        *([("payment.expired", payment)] if started else []),
        ("invoice.expired", old),
        ("invoice.created", new),
    ]
    if payment:
        assert (await setup.payment(payment)).status == "expired"
        assert (await setup.confirm(payment)).code == "confirmation_expired"
    assert (await setup.start(wallet, old)).code == "invoice_expired"
    assert (await setup.start(wallet, new)).code == "ok"
    again = await entered(setup, reference="order-8")
    assert (await status_of(setup, again), await status_of(setup, old)) == ("open", "expired")
    # An operator can still void it; the reference stays with its new holder.
    assert (await setup.void(old)).code == "ok"
    assert (await enter(setup)).details == {"invoice_id": new}


@pytest.mark.parametrize("state", ["processing", "set aside", "succeeded", "refunding", "refunded"])
async def test_an_invoice_that_is_or_gets_paid_keeps_its_reference_past_its_expiry(
    setup: Setup, state: str
) -> None:
    old = await entered(setup)
    purchase = await purchase_in(setup, "refunding" if state == "refunded" else state, old)
    if state == "refunded":
        assert (await setup.complete(purchase.payment, purchase.claim, "reversed")).code == "ok"
    await expire(setup, old)
    assert (await enter(setup)).details == {"invoice_id": old}


async def test_a_payment_that_was_given_back_leaves_the_invoice_unpaid(setup: Setup) -> None:
    old = await entered(setup)
    purchase = await purchase_in(setup, "processing", old)
    await expire(setup, old)
    assert (await setup.complete(purchase.payment, purchase.claim, "given_back")).code == "ok"
    assert (await enter(setup)).code == "ok"


async def test_a_clock_that_goes_back_leaves_one_invoice_of_an_order_that_can_be_paid(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    old = await entered(clocked, lasts_ms=60_000)
    payment = await clocked.started(wallet, old)
    fake_clock.advance(61_000)
    new = await entered(clocked)

    fake_clock.advance(-HOUR_MS)

    assert await status_of(clocked, old) == "expired"
    assert (await clocked.confirm(payment)).code == "confirmation_expired"
    assert (await clocked.start(wallet, old)).code == "invoice_expired"
    assert (await enter(clocked)).details == {"invoice_id": new}
    assert (await clocked.confirm(await clocked.started(wallet, new))).code == "ok"
    page = await list_invoices(clocked.store, "alice", "", 10)
    assert {invoice.id: invoice.status for invoice in page.data} == {old: "expired", new: "processing"}
    await assert_clean(clocked.store)


async def test_a_repeat_of_the_call_that_took_a_reference_over_takes_it_once(setup: Setup) -> None:
    old = await entered(setup)
    await expire(setup, old)
    at = from_ms(await setup.now_ms() + DAY_MS)
    invoice = new_invoice("alice", 1_000, "EUR", at, reference="order-7", identity=operation())
    await setup.done(invoice)
    before = await dump(setup.store)
    assert (await setup.run(invoice)).replayed
    assert await dump(setup.store) == before
