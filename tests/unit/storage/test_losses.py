"""Losses: entries of the journal that an engine saw and that are gone; an operator accepts them."""

from itertools import count

import pytest
from support.fixtures.dumps import dump
from support.fixtures.store_setup import Setup

from technopay.engine.errors import StoreUnfit
from technopay.engine.values import BEGINNING, Position
from technopay.storage.commands import AcceptLoss, RecordLoss
from technopay.storage.schema import Loss, losses_of, require_whole

MISSING = "99999999999999-5"


async def incarnation_of(setup: Setup) -> str:
    return (await setup.store.read_meta())["incarnation"]


async def record(setup: Setup, entry: str = MISSING) -> str:
    return (await setup.store.run(RecordLoss(await incarnation_of(setup), entry))).code


async def test_a_missing_entry_is_recorded_with_the_last_one_before_it(setup: Setup) -> None:
    assert await record(setup, "1-0") == "ok"
    assert await record(setup) == "ok"
    end = await setup.store.read_end(setup.store.partitions[0])
    meta = await setup.store.read_meta()
    assert losses_of(meta) == [Loss(Position(1, 0), BEGINNING), Loss(Position.of(MISSING), end)]
    with pytest.raises(StoreUnfit, match=f"entry {MISSING} of its journal is missing.*accept-loss"):
        require_whole(meta)


async def test_an_entry_that_is_there_or_was_seen_in_another_store_is_no_loss(setup: Setup) -> None:
    end = str(await setup.store.read_end(setup.store.partitions[0]))
    before = await dump(setup.store)
    assert await record(setup, end) == "kept"
    assert (await setup.store.run(RecordLoss("another", MISSING))).code == "kept"
    assert await dump(setup.store) == before
    require_whole(await setup.store.read_meta())


async def test_the_number_of_recorded_losses_is_bounded(setup: Setup) -> None:
    for number in range(1, 70):
        assert await record(setup, f"{number}-0") == "ok"
    assert len(losses_of(await setup.store.read_meta())) == 64


async def test_an_accepted_loss_leaves_the_store_with_another_incarnation(setup: Setup) -> None:
    await record(setup, "1-0")
    await record(setup)
    before = await setup.store.read_meta()
    assert await setup.store.accept_loss(before["incarnation"])

    after = await setup.store.read_meta()
    require_whole(after)
    assert after["incarnation"] != before["incarnation"]
    kept = {name: value for name, value in before.items() if not name.startswith("lost:")}
    assert {**after, "incarnation": before["incarnation"]} == kept


async def test_nothing_is_accepted_without_a_loss_or_for_another_incarnation(setup: Setup) -> None:
    incarnation = await incarnation_of(setup)
    numbers = count()

    async def accept(named: str) -> str:
        return (await setup.store.run(AcceptLoss(named, f"next-{next(numbers)}"))).code

    assert not await setup.store.accept_loss(incarnation)
    await record(setup)
    before = await dump(setup.store)
    assert await accept("another") == "nothing"
    assert await dump(setup.store) == before
    assert await accept(incarnation) == "ok"
    assert await accept(incarnation) == "nothing"
    with pytest.raises(StoreUnfit):
        require_whole(await setup.store.read_meta())  # it is forgotten once all partitions have accepted it
    assert await setup.store.accept_loss((await setup.store.read_meta())["incarnation"])
    require_whole(await setup.store.read_meta())
