"""References: used once per merchant, and free again for good when their invoice is void or expired unpaid."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from support.audit import assert_clean
from support.clock import FakeClock
from support.scene import DAY_MS, Scene, dump, new_invoice, operation
from support.store import list_invoices, set_aside

from technopay.engine.commands import ReadInvoice, VoidInvoice
from technopay.engine.models import Invoice, from_ms
from technopay.engine.ports import Outcome

HOUR_MS = 3_600_000


async def enter(scene: Scene, *, lasts_ms: int = DAY_MS, **changes: Any) -> Outcome[Invoice]:
    at = from_ms(await scene.now_ms() + lasts_ms)
    invoice = new_invoice("alice", 1_000, "EUR", at, reference="order-7")
    return await scene.store.run(replace(invoice, **changes))


async def entered(scene: Scene, **changes: Any) -> str:
    outcome = await enter(scene, **changes)
    assert outcome.code == "ok"
    assert outcome.value is not None
    return outcome.value.id


async def status_of(scene: Scene, invoice_id: str) -> str:
    invoice = (await scene.store.run(ReadInvoice(invoice_id, None))).value
    assert invoice is not None
    return invoice.status


async def expire(scene: Scene, invoice_id: str) -> None:
    """Let an invoice be past its time on each kind of store."""
    await scene.write("invoice", invoice_id, expires_at=await scene.now_ms() - 1)


async def test_an_invoice_that_can_be_paid_keeps_its_reference_and_is_named(scene: Scene) -> None:
    invoice_id = await entered(scene)
    before = await dump(scene.store)

    refused = await enter(scene)

    assert (refused.code, refused.details) == ("reference_used", {"invoice_id": invoice_id})
    assert await dump(scene.store) == before


async def test_a_void_invoice_frees_its_reference(scene: Scene) -> None:
    old = await entered(scene)
    assert (await scene.store.run(VoidInvoice(operation(), old))).code == "ok"

    new = await entered(scene)

    assert (await status_of(scene, old), await status_of(scene, new)) == ("void", "open")
    assert (await enter(scene)).details == {"invoice_id": new}
    assert (await scene.store.run(VoidInvoice(operation(), old))).code == "ok"
    assert (await enter(scene)).details == {"invoice_id": new}


@pytest.mark.parametrize("started", [False, True])
async def test_an_invoice_that_expired_unpaid_frees_its_reference_and_is_expired_for_good(
    scene: Scene, *, started: bool
) -> None:
    old, wallet = await entered(scene), await scene.wallet()
    payment = await scene.started(wallet, old) if started else None
    await expire(scene, old)
    before = await scene.journal()

    new = await entered(scene)

    assert (await scene.fields("invoice", old))["status"] == "expired"
    assert [(kind, said.get("invoice") or said.get("payment")) for kind, said in await scene.news(before)] == [
        *([("payment.expired", payment)] if started else []),
        ("invoice.expired", old),
        ("invoice.created", new),
    ]
    if payment:
        assert (await scene.payment(payment)).status == "expired"
        assert (await scene.confirm(payment)).code == "confirmation_expired"
    assert (await scene.start(wallet, old)).code == "invoice_expired"
    assert (await scene.start(wallet, new)).code == "ok"
    again = await entered(scene, reference="order-8")
    assert (await status_of(scene, again), await status_of(scene, old)) == ("open", "expired")
    # An operator can still withdraw it, which changes nothing for who has the reference now.
    assert (await scene.store.run(VoidInvoice(operation(), old))).code == "ok"
    assert (await enter(scene)).details == {"invoice_id": new}


Prepare = Callable[[Scene, str, str], Awaitable[Any]]


async def processing(scene: Scene, wallet: str, invoice: str) -> tuple[str, str]:
    payment = await scene.started(wallet, invoice)
    return payment, (await scene.confirm(payment)).details["claim"]


async def is_set_aside(scene: Scene, wallet: str, invoice: str) -> None:
    assert await set_aside(scene.store, *await processing(scene, wallet, invoice), 60_000)


async def succeeded(scene: Scene, wallet: str, invoice: str) -> str:
    payment, claim = await processing(scene, wallet, invoice)
    assert (await scene.complete(payment, claim, "settled")).code == "ok"
    return payment


async def refunding(scene: Scene, wallet: str, invoice: str) -> None:
    assert (await scene.begin_refund(await succeeded(scene, wallet, invoice))).code == "ok"


async def refunded(scene: Scene, wallet: str, invoice: str) -> None:
    payment = await succeeded(scene, wallet, invoice)
    claim = (await scene.begin_refund(payment)).details["claim"]
    assert (await scene.complete(payment, claim, "reversed")).code == "ok"


@pytest.mark.parametrize("prepare", [processing, is_set_aside, succeeded, refunding, refunded])
async def test_an_invoice_that_is_or_gets_paid_keeps_its_reference_past_its_expiry(
    scene: Scene, prepare: Prepare
) -> None:
    old = await entered(scene)
    await prepare(scene, await scene.wallet(), old)
    await expire(scene, old)
    assert (await enter(scene)).details == {"invoice_id": old}


async def test_a_payment_that_was_given_back_leaves_the_invoice_unpaid(scene: Scene) -> None:
    old = await entered(scene)
    payment, claim = await processing(scene, await scene.wallet(), old)
    await expire(scene, old)
    assert (await scene.complete(payment, claim, "given_back")).code == "ok"
    assert (await enter(scene)).code == "ok"


async def test_a_clock_that_goes_back_leaves_one_invoice_of_an_order_that_can_be_paid(
    clocked: Scene, fake_clock: FakeClock
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


async def test_a_repeat_of_the_call_that_took_a_reference_over_takes_it_once(scene: Scene) -> None:
    old = await entered(scene)
    await expire(scene, old)
    who, at = operation(), from_ms(await scene.now_ms() + DAY_MS)
    invoice = new_invoice("alice", 1_000, "EUR", at, reference="order-7")
    assert (await scene.store.run(replace(invoice, operation=who))).code == "ok"
    before = await dump(scene.store)
    assert (await scene.store.run(replace(invoice, operation=who))).replayed
    assert await dump(scene.store) == before
