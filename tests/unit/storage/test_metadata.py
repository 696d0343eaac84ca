"""Metadata of invoices: on the invoice and every view of its payments; nothing is stored without them."""

import json

from support.fixtures.store_commands import list_payments, read_owned
from support.fixtures.store_setup import FAR, Setup, new_invoice, operation, value_of

from technopay.engine.commands import ResolvePayment, SetAside

METADATA = {"order": "7", "note-1": "two\xa0“books” \\ €", "empty": ""}
PACKED = json.dumps(METADATA, ensure_ascii=False)


async def test_metadata_are_on_every_view_of_an_invoice_and_its_payments(setup: Setup) -> None:
    created = await setup.done(new_invoice("alice", 100, "EUR", FAR, metadata=PACKED))
    assert created.metadata == (await setup.read_invoice(created.id)).metadata == METADATA
    wallet = await setup.wallet()
    started = value_of(await setup.start(wallet, created.id))
    confirmed = value_of(await setup.confirm(started.id))
    read = await setup.payment(started.id)
    await setup.complete(started.id, "1", "settled")
    refunding = value_of(await setup.begin_refund(started.id))
    [listed] = (await list_payments(setup.store, "alice", "", 10)).data
    owned = await read_owned(setup.store, [started.id, created.id], ["alice"])
    views = [started, confirmed, read, refunding, listed, *owned.values()]
    assert [getattr(each, "metadata", None) for each in views] == [METADATA] * 7
    assert (started.confirmation is not None, confirmed.paid_at is not None) == (True, True)
    assert (await setup.fields("payment", started.id))["metadata"] == "1", "the payment has no copy"


async def test_a_decided_payment_has_its_resolution_and_its_metadata(setup: Setup) -> None:
    invoice = (await setup.done(new_invoice("alice", 100, "EUR", FAR, metadata=PACKED))).id
    payment = await setup.started(await setup.wallet(), invoice)
    await setup.confirm(payment)
    await setup.run(SetAside(payment, "1", 60_000))
    await setup.done(ResolvePayment(operation(), payment, "settled", "seen", "root"))
    found = await setup.operator_payment(payment)
    assert found.resolution
    assert (found.resolution.note, found.metadata) == ("seen", METADATA)


async def test_without_metadata_nothing_is_stored_for_them(setup: Setup) -> None:
    invoice = await setup.invoice()
    payment = await setup.started(await setup.wallet(), invoice)
    for state in ("requires_confirmation", "processing"):
        shown = await setup.payment(payment)
        assert (shown.status, shown.metadata) == (state, {})
        await setup.confirm(payment)
    assert (await setup.read_invoice(invoice)).metadata == {}
    assert "metadata" not in await setup.fields("payment", payment)
    assert "metadata" not in await setup.fields("invoice", invoice)
    assert "metadata" not in str(await setup.journal())
