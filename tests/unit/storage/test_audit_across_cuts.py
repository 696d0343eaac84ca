"""The audit of a store whose entries left for the archive is clean, also while records go on behind a cut."""

import pytest
from support.fixtures.all_reads import make_past, refund
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.trimmed_world import World, new_world
from support.fixtures.trimming import Trimming

pytestmark = pytest.mark.any_partition


@pytest.fixture
async def world(trimming: Trimming, monkeypatch: pytest.MonkeyPatch) -> World:
    return await new_world(trimming, monkeypatch)


async def test_books_balance_across_cuts(world: World) -> None:
    setup, ids = world.setup, world.ids
    before = await dump(setup.store)
    for full in (False, True):
        assert (await world.audit(full=full)).clean
    assert await dump(setup.store) == before, "the audit writes nothing"
    assert (await setup.complete(ids["refunding"], ids["refund"], "reversed")).code == "ok"
    assert (await setup.complete(ids["processing"], ids["claim"], "settled")).code == "ok"
    assert (await setup.confirm(ids["waiting"])).code == "ok"
    await setup.void(ids["open"])
    await assert_clean(setup.store)
    await world.trimming.trim()
    await make_past(setup, "alice")
    await assert_clean(setup.store)
    await world.trimming.trim()
    whole, behind = await world.audit(full=True), await assert_clean(setup.store)
    assert whole.clean
    assert whole.checked.payments > behind.checked.payments, "those that ended are in the checkpoint as sums"
    assert whole.checked.entries > 50
    # Slices are granted in partitions of other users.
    assert behind.checked.entries == 0 or len(setup.store.partitions) > 1


async def test_refunds_of_payments_that_ended_before_the_cut_are_audited(world: World) -> None:
    setup, ids = world.setup, world.ids
    await refund(setup, ids["paid"], 100)
    await refund(setup, ids["paid"], 50, "refund_failed")
    await refund(setup, ids["part"])
    begun = await setup.begin_refund(ids["paid"], "ref_later", amount=7)
    await assert_clean(setup.store)
    await world.trimming.trim()
    await assert_clean(setup.store)
    assert (await setup.complete(ids["paid"], begun.details["claim"], "reversed")).code == "ok"
    await assert_clean(setup.store)
    await world.trimming.trim()
    await refund(setup, ids["paid"])
    await assert_clean(setup.store)
    assert (await setup.payment(ids["paid"])).status == "refunded"
