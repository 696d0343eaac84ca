"""Entries that were trimmed: no loss, and shown by the state of the archive."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.aged_store import AgedStore, aged_store
from support.fixtures.store_commands import read_archive

from technopay.engine.record import from_ms
from technopay.engine.values import Position
from technopay.storage.commands import RecordLoss
from technopay.storage.schema import losses_of


@pytest.fixture(params=[1, 4])
async def aged(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AgedStore]:
    async with aged_store(str(tmp_path / "archive.sqlite3"), partitions=request.param) as aged:
        yield aged


async def test_a_trimmed_entry_is_not_lost(aged: AgedStore) -> None:
    number = aged.store.partition_of("alice")
    partition = aged.store._partitions[number]
    first = (await partition.fetch("XRANGE", partition.keys.journal, "-", "+", "COUNT", 1))[0][0]
    await aged.trim()
    trimmed = await partition.read_trimmed()
    assert trimmed is not None
    incarnation = (await aged.store.read_meta())["incarnation"]
    for entry_id in (first, str(trimmed.to)):
        assert (await partition.run(RecordLoss(incarnation, entry_id))).code == "kept"
    assert losses_of(await aged.store.read_meta()) == []
    behind = str(Position(trimmed.to.at_ms, trimmed.to.number + 1))
    assert (await partition.run(RecordLoss(incarnation, behind))).code == "ok"


async def test_the_state_of_the_archive_has_the_latest_time_up_to_which_history_left(aged: AgedStore) -> None:
    assert (await read_archive(aged.store)).checkpoint is None
    assert (await aged.engine.get_archive()).checkpoint is None
    await aged.trim()
    found = [await each.read_trimmed() for each in aged.store._partitions]
    latest = max(each.to.at_ms for each in found if each)
    status = await aged.engine.get_archive()
    assert status.checkpoint == from_ms(str(latest))
    assert status.archived_to is not None
    assert status.archived_to >= status.checkpoint
