"""The references of invoices that left a store: used once and for all if the invoice was paid, else free."""

import asyncio

import pytest
from support.fixtures.dropping import (
    count_digests,
    cut,
    detached,
    home,
    is_kept,
    is_used,
    other_home,
    paid_invoice,
    referred_invoice,
    refund_to_the_end,
    written,
)
from support.fixtures.store_setup import FAR, Setup, new_invoice, operation
from support.fixtures.trimming import Trimming

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.models import Invoice
from technopay.engine.ports import Outcome
from technopay.engine.reads import SearchInvoices
from technopay.storage.archive.commands import SettleReferences
from technopay.storage.archive.dropping import Dropping
from technopay.storage.commands import AuditUsed
from technopay.storage.references import reference_digest

pytestmark = pytest.mark.any_partition

SHOP_R = "4:ShopR-"
HALF = "abc0000000000000"
OTHER_HALF = "abc1111111111111"


async def create(setup: Setup, reference: str, user_id: str = "alice") -> Outcome[Invoice]:
    return await setup.run(new_invoice(user_id, 1_000, "EUR", FAR, reference))


async def assert_used(setup: Setup, reference: str, invoice_id: str) -> None:
    """Assert that a reference cannot be used again, and that nothing is written."""
    before = await written(setup)
    refused = await create(setup, reference)
    assert (refused.code, refused.details.get("invoice_id")) == ("reference_used", invoice_id)
    assert await written(setup) == before


async def find_by_reference(setup: Setup, reference: str) -> list[str]:
    page = await setup.done(SearchInvoices(None, "Shop", reference, None, "", 10))
    return [each.id for each in page.data]


async def test_the_digest_of_a_paid_invoice_is_added_once(setup: Setup) -> None:
    first = setup.store._partition
    one, other = [reference_digest(b"key", f"{SHOP_R}{number}") for number in (1, 2)]
    for invoice, digest in (("inv_1", one), ("inv_1", one), ("inv_2", other), ("inv_1", one)):
        settled = SettleReferences([invoice, f"{SHOP_R}{invoice}", digest, "1"])
        assert (await first.run(settled)).code == "ok"
    assert (await first.run(AuditUsed([one, other, "0" * 32]))).value == [True, True, False]
    assert await count_digests(setup, first) == 2


async def test_a_digest_across_two_others_is_not_found(setup: Setup) -> None:
    first = setup.store._partition
    one, other, across = HALF + OTHER_HALF, "abc2222222222222" + HALF, OTHER_HALF + "abc2222222222222"
    await first.run(SettleReferences(["inv_1", "4:ShopR-1", one, "1", "inv_2", "4:ShopR-2", other, "1"]))
    assert (await first.run(AuditUsed([one, other, across]))).value == [True, True, False]
    await first.run(SettleReferences(["inv_3", "4:ShopR-3", across, "1"]))
    assert (await first.run(AuditUsed([one, other, across]))).value == [True, True, True]
    assert await count_digests(setup, first) == 3


async def test_a_reference_that_another_invoice_has_by_now_stays_that_ones(setup: Setup) -> None:
    holder = await referred_invoice(setup, "R-1")
    own = home(setup, "R-1")
    for is_paid in "01":
        digest = own.digest_of("Shop", "R-1")
        await own.run(SettleReferences(["inv_00earlier", f"{SHOP_R}1", digest, is_paid]))
        assert not await is_used(setup, "R-1")
        await assert_used(setup, "R-1", holder)


@pytest.mark.parametrize("refund", ["none", "part", "whole", "whole later"])
async def test_the_reference_of_a_paid_invoice_is_used_for_ever(
    setup: Setup, trimming: Trimming, refund: str
) -> None:
    reference = other_home(setup, "alice")
    payment, invoice = await paid_invoice(setup, await setup.wallet(), reference)
    if refund in ("part", "whole"):
        await refund_to_the_end(setup, payment, amount=10 if refund == "part" else None)
    await trimming.trim()
    assert not await is_kept(setup, invoice)
    await assert_used(setup, reference, invoice)
    if refund == "whole later":
        await refund_to_the_end(setup, payment)
        await assert_used(setup, reference, invoice)
        await trimming.trim()
        assert not await is_kept(setup, invoice)
    await assert_used(setup, reference, invoice)
    assert await find_by_reference(setup, reference) == [invoice]
    assert await count_digests(setup, home(setup, reference)) == 1


async def test_the_references_of_invoices_that_were_not_paid_are_free(setup: Setup, trimming: Trimming) -> None:
    voided = await referred_invoice(setup, "R-1")
    await setup.void(voided)
    await trimming.trim()
    assert not await is_kept(setup, voided)
    assert not await is_used(setup, "R-1")
    assert await find_by_reference(setup, "R-1") == []
    created = await create(setup, "R-1")
    assert created.code == "ok"
    await assert_used(setup, "R-1", created.value.id if created.value else "")


async def test_a_reference_that_was_used_after_a_void_invoice_stays_used(
    setup: Setup, trimming: Trimming
) -> None:
    wallet = await setup.wallet()
    voided = await referred_invoice(setup, "R-1")
    await setup.void(voided)
    _, paid = await paid_invoice(setup, wallet, "R-1")
    await trimming.trim()
    assert [await is_kept(setup, each) for each in (voided, paid)] == [False, False]
    await assert_used(setup, "R-1", paid)
    assert await find_by_reference(setup, "R-1") == [paid]


async def test_a_reference_is_refused_while_its_invoice_was_not_dropped_yet(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = other_home(setup, "alice")
    payment, invoice = await paid_invoice(setup, await setup.wallet(), reference)

    async def crash(*_: object) -> bool:
        raise ConnectionError("it was killed")

    with monkeypatch.context() as patched:
        patched.setattr(Dropping, "_drop", crash)
        with pytest.raises(ConnectionError):
            await trimming.trim()
    assert await is_kept(setup, invoice)
    await assert_used(setup, reference, invoice)
    assert (await setup.read_invoice(invoice)).status == "paid"
    assert await find_by_reference(setup, reference) == [invoice]
    assert (await setup.payment(payment)).status == "succeeded"
    audit = await setup.store.audit(full=True)
    assert audit.clean, audit.differences
    await trimming.trimmer.run()
    assert not await is_kept(setup, invoice)
    await assert_used(setup, reference, invoice)
    assert (await setup.store.audit(full=True)).clean


async def test_without_the_archive_a_used_reference_is_refused_and_new_ones_are_not(
    setup: Setup, trimming: Trimming
) -> None:
    reference = other_home(setup, "alice")
    _, invoice = await paid_invoice(setup, await setup.wallet(), reference)
    await trimming.trim()
    before = await written(setup)
    async with detached(setup):
        with pytest.raises(ArchiveUnavailable):
            await create(setup, reference)
        with pytest.raises(ArchiveUnavailable):
            await find_by_reference(setup, reference)
        assert await written(setup) == before
        assert (await create(setup, "never used")).code == "ok"
    await assert_used(setup, reference, invoice)


async def test_a_reference_is_never_used_twice_while_its_invoice_leaves(
    setup: Setup, trimming: Trimming
) -> None:
    await setup.user("bob")
    await setup.user("carol")
    wallet = await setup.wallet()
    paid = {
        reference: (await paid_invoice(setup, wallet, reference))[1]
        for reference in [f"R-{number}" for number in range(8)]
    }
    is_over = asyncio.Event()
    refused: list[Outcome[Invoice]] = []

    async def keep_on(reference: str, user_id: str) -> None:
        while not is_over.is_set():
            refused.append(await create(setup, reference, user_id))
            assert refused[-1].code == "reference_used"
            assert refused[-1].details.get("invoice_id") == paid[reference]

    async with asyncio.TaskGroup() as tasks:
        for reference in paid:
            for user_id in ("alice", "bob", "carol"):
                tasks.create_task(keep_on(reference, user_id))
        await trimming.trim()
        is_over.set()
    assert len(refused) > len(paid)
    assert [await is_kept(setup, each) for each in paid.values()] == [False] * len(paid)


async def test_a_repeat_of_a_creation_gets_its_invoice_after_that_left(
    setup: Setup, trimming: Trimming
) -> None:
    command = new_invoice("alice", 1_000, "EUR", FAR, "R-1", operation(kept_ms=10**9))
    created = await setup.run(command)
    assert created.value is not None
    payment = await setup.started(await setup.wallet(), created.value.id)
    claim = (await setup.confirm(payment)).details["claim"]
    await setup.complete(payment, claim, "settled")
    await trimming.trim()
    assert not await is_kept(setup, created.value.id)
    again = await setup.run(command)
    assert again.value == created.value


async def test_digests_lie_in_the_home_of_their_reference(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = await setup.wallet()
    references = [f"R-{number}" for number in range(6)]
    for reference in references:
        await paid_invoice(setup, wallet, reference)
    await cut(trimming, monkeypatch)
    for own in setup.store._partitions:
        assert await count_digests(setup, own) == 0
    await trimming.trimmer.run()
    assert all([await is_used(setup, each) for each in references])
    for own in setup.store._partitions:
        expected = [each for each in references if home(setup, each) is own]
        assert await count_digests(setup, own) == len(expected)
