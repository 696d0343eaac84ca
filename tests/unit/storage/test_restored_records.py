"""Records that are restored for a moment: they go again by themselves, unless a refund keeps them."""

import asyncio
import json
from typing import Any

import pytest
from support.fixtures.dropping import detached, invoice_of, is_indexed, is_kept, paid_invoice, refund_to_the_end
from support.fixtures.dumps import dump
from support.fixtures.polling import see
from support.fixtures.store_commands import partition, read_owned
from support.fixtures.store_setup import FAR, Setup, client_of, new_invoice, unrecorded
from support.fixtures.trimming import Trimming

from technopay.engine import commands, reads
from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive.commands import RestoreRecords

pytestmark = pytest.mark.any_partition

RESTORED_MS = 10_000
SOON_MS = 9_000


async def left_ms(setup: Setup, record_id: str) -> int:
    """Return for how long a record stays; -1: for good, -2: it is not there."""
    kind = "payment" if record_id.startswith("pay_") else "invoice"
    return int(await client_of(setup.store).pttl(setup.keys.key(kind, record_id)))


async def gone(setup: Setup, trimming: Trimming) -> tuple[str, str]:
    """Pay an invoice, and let both leave."""
    payment = await setup.succeeded(await setup.wallet())
    invoice = await invoice_of(setup, payment)
    await trimming.trim()
    assert (await is_kept(setup, payment), await is_kept(setup, invoice)) == (False, False)
    return payment, invoice


@pytest.mark.parametrize("by", ["payment", "invoice"])
async def test_a_record_is_restored_for_ten_seconds_with_its_pair(
    setup: Setup, trimming: Trimming, by: str
) -> None:
    payment, invoice = await gone(setup, trimming)
    read: Any = reads.FindPayment(payment) if by == "payment" else reads.ReadInvoice(invoice)
    await setup.done(read)
    for each in (payment, invoice):
        assert 0 < await left_ms(setup, each) <= RESTORED_MS
        assert not await is_indexed(setup, each)
    assert (await setup.store.audit(full=True)).clean


async def test_reads_do_not_keep_a_restored_record(setup: Setup, trimming: Trimming) -> None:
    payment, invoice = await gone(setup, trimming)
    await setup.done(reads.FindPayment(payment))
    client = client_of(setup.store)
    for kind, each in (("payment", payment), ("invoice", invoice)):
        await client.pexpire(setup.keys.key(kind, each), SOON_MS)
    for command in (
        reads.FindPayment(payment), reads.ReadPayment(payment, "alice"), reads.ReadInvoice(invoice),
        reads.ListPayments("alice", "", 10), commands.CancelPayment(unrecorded(), payment, "alice"),
    ):  # fmt: skip
        await setup.run(command)
    for each in (payment, invoice):
        assert await left_ms(setup, each) <= SOON_MS


async def test_a_restored_record_expires(setup: Setup, trimming: Trimming) -> None:
    payment, invoice = await gone(setup, trimming)
    await setup.done(reads.FindPayment(payment))
    client = client_of(setup.store)
    for kind, each in (("payment", payment), ("invoice", invoice)):
        # The rest of its time passes.
        await client.pexpire(setup.keys.key(kind, each), max(1, await left_ms(setup, each) - RESTORED_MS))

    async def are_gone() -> bool:
        return not any([await is_kept(setup, each) for each in (payment, invoice)])

    await see(are_gone, within_s=10, pause_s=0.005)
    assert (await setup.done(reads.FindPayment(payment))).status == "succeeded"


async def test_calls_at_the_same_time_all_find_a_record_that_left(setup: Setup, trimming: Trimming) -> None:
    payment, invoice = await gone(setup, trimming)
    reads_of_both: list[Any] = [reads.FindPayment(payment), reads.ReadInvoice(invoice)] * 4
    found = await asyncio.gather(*(setup.run(each) for each in reads_of_both))
    assert {each.code for each in found} == {"ok"}
    await client_of(setup.store).delete(setup.keys.key("payment", payment), setup.keys.key("invoice", invoice))
    owned = await asyncio.gather(*(read_owned(setup.store, [payment, invoice], ["alice"]) for _ in range(4)))
    assert [set(each) for each in owned] == [{payment, invoice}] * 4


async def test_a_record_that_is_there_is_never_overwritten(setup: Setup, trimming: Trimming) -> None:
    payment = await setup.succeeded(await setup.wallet())
    invoice = await invoice_of(setup, payment)
    await trimming.copy()
    before = await dump(setup.store)
    number = partition(setup.store)
    for each in (payment, invoice):
        command = RestoreRecords(number, [each, json.dumps({"user": "alice", "status": "void"})])
        assert (await setup.run(command)).value == [0]
    assert await dump(setup.store) == before
    assert (await left_ms(setup, payment), await left_ms(setup, invoice)) == (-1, -1)


@pytest.mark.parametrize("amount", [None, 10])
async def test_a_refund_keeps_a_restored_payment_and_its_invoice(
    setup: Setup, trimming: Trimming, amount: int | None
) -> None:
    payment, invoice = await gone(setup, trimming)
    begun = await setup.begin_refund(payment, amount=amount)
    assert begun.code == "ok"
    for each in (payment, invoice):
        assert await left_ms(setup, each) == -1
        assert await is_indexed(setup, each)
    assert (await setup.complete(payment, begun.details["claim"], "reversed")).code == "ok"
    assert (await setup.store.audit(full=True)).clean
    await trimming.trim()
    assert [await is_kept(setup, each) for each in (payment, invoice)] == [False, False]
    if amount:
        await refund_to_the_end(setup, payment, "ref_002")
        await trimming.trim()
        assert not await is_kept(setup, payment)
        assert (await setup.done(reads.FindPayment(payment))).status == "refunded"


async def test_a_refused_refund_does_not_keep_a_restored_payment(setup: Setup, trimming: Trimming) -> None:
    payment, invoice = await gone(setup, trimming)
    assert (await setup.begin_refund(payment, amount=10**6)).code == "refund_too_large"
    for each in (payment, invoice):
        assert 0 < await left_ms(setup, each) <= RESTORED_MS


async def test_a_record_of_another_user_is_not_restored(setup: Setup, trimming: Trimming) -> None:
    await setup.user("bob")
    payment, invoice = await gone(setup, trimming)
    assert (await setup.run(reads.ReadPayment(payment, "bob"))).code == "payment_not_found"
    assert (await setup.run(reads.ReadInvoice(invoice, "bob"))).code == "invoice_not_found"
    assert (await setup.cancel(payment, "bob")).code == "payment_not_found"
    assert (await setup.confirm(payment, user_id="bob")).code == "payment_not_found"
    assert (await setup.start(await setup.wallet("bob"), invoice, "bob")).code == "invoice_not_found"
    assert [await is_kept(setup, each) for each in (payment, invoice)] == [False, False]


async def test_events_have_the_records_that_left(setup: Setup, trimming: Trimming) -> None:
    payment, invoice = await gone(setup, trimming)
    found = await read_owned(setup.store, [payment, invoice, "pay_00unheardof"], ["alice"])
    assert set(found) == {payment, invoice}


async def test_without_the_archive_an_unknown_id_is_not_missing_once_records_left(
    setup: Setup, trimming: Trimming
) -> None:
    unknown = f"pay_{partition(setup.store):02x}unheardof"
    async with detached(setup):
        for command in calls(unknown):
            assert (await setup.run(command)).code in ("payment_not_found", "invoice_not_found")
    payment, invoice = await gone(setup, trimming)
    wallet = await setup.wallet()
    live = await setup.started(wallet, await setup.invoice())
    async with detached(setup):
        before = await dump(setup.store)
        for each in (unknown, payment):
            for command in calls(each):
                with pytest.raises(ArchiveUnavailable):
                    await setup.run(command)
        with pytest.raises(ArchiveUnavailable):
            await setup.run(reads.ReadInvoice(invoice))
        with pytest.raises(ArchiveUnavailable):
            await setup.run(reads.ListPayments("alice", "", 10))
        assert await dump(setup.store) == before
        # Live records are as before.
        assert (await setup.payment(live)).id == live
        assert (await setup.confirm(live)).code == "ok"
        assert (await setup.deposit(wallet, 5)).code == "ok"
        assert (await setup.run(new_invoice("alice", 1, "EUR", FAR, "R-1"))).code == "ok"
        succeeded = await setup.succeeded(wallet)
        await refund_to_the_end(setup, succeeded, "ref_009")
    for command in calls(unknown):
        assert (await setup.run(command)).code in ("payment_not_found", "invoice_not_found")
    await setup.done(reads.FindPayment(payment))


def calls(payment_id: str) -> list[commands.Command[Any]]:
    return [
        reads.FindPayment(payment_id), reads.ReadPayment(payment_id, "alice"),
        reads.ReadInvoice(f"inv_{payment_id[4:]}"),
    ]  # fmt: skip


@pytest.mark.corrupts
async def test_the_whole_audit_finds_a_reference_that_was_forgotten(setup: Setup, trimming: Trimming) -> None:
    wallet = await setup.wallet()
    invoices = [(await paid_invoice(setup, wallet, reference))[1] for reference in ("R-1", "R-2")]
    await trimming.trim()
    assert (await setup.store.audit(full=True)).clean
    client = client_of(setup.store)
    used = [each async for each in client.scan_iter(match=f"*{setup.keys.namespace}:*}}:used:*")]
    assert used
    await client.delete(*used)
    assert (await setup.store.audit()).clean
    audit = await setup.store.audit(full=True)
    assert {each.subject for each in audit.differences} == set(invoices)


@pytest.mark.corrupts
@pytest.mark.parametrize(
    "change", [("payment", "amount", "1"), ("payment", "status", "failed"), ("invoice", "amount", "1")]
)
async def test_the_audit_finds_a_dropped_record_that_came_back_changed(
    setup: Setup, trimming: Trimming, change: tuple[str, str, str]
) -> None:
    payment, invoice = await gone(setup, trimming)
    await setup.done(reads.FindPayment(payment))
    assert (await setup.store.audit()).clean
    kind, name, text = change
    changed = payment if kind == "payment" else invoice
    await setup.write(kind, changed, **{name: text})
    audit = await setup.store.audit()
    assert changed in {each.subject for each in audit.differences}


@pytest.mark.corrupts
@pytest.mark.parametrize("state", ["processing", "succeeded"])
async def test_the_audit_misses_a_payment_that_changed_behind_the_cut(
    setup: Setup, trimming: Trimming, state: str
) -> None:
    wallet = await setup.wallet()
    payment, claim = await setup.processing(wallet)
    await trimming.trim()
    assert await is_kept(setup, payment)
    if state == "succeeded":
        assert (await setup.complete(payment, claim, "settled")).code == "ok"
        await trimming.archiver.run()
    assert (await setup.store.audit()).clean
    await client_of(setup.store).delete(setup.keys.key("payment", payment))
    await client_of(setup.store).zrem(setup.keys.key("payments", "alice"), payment)
    audit = await setup.store.audit()
    assert payment in {each.subject for each in audit.differences}
