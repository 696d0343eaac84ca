"""The archiver of a service: it trims after the days of the settings."""

from datetime import timedelta
from pathlib import Path

import pytest
from support.fixtures.aged_store import AgedStore, aged_store
from support.fixtures.engine_setup import wait_for
from support.fixtures.store_commands import read_archive

from technopay.cli.archive.archiving import archiving
from technopay.storage.archive import trimmer


async def has_left(aged: AgedStore) -> bool:
    return (await read_archive(aged.store)).checkpoint is not None


async def test_entries_leave_the_store_after_the_days_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimmer, "INTERVAL_S", 0.02)
    location = str(tmp_path / "archive.sqlite3")
    async with aged_store(location) as aged:
        aged.clock.ahead += timedelta(days=20)
        async with archiving(aged.store, location, 9):
            await wait_for(lambda: has_left(aged))
            assert (await aged.engine.list_events(limit=1)).data
            assert (await aged.store.audit()).clean


async def test_without_an_archive_no_entry_leaves_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimmer, "INTERVAL_S", 0.02)
    async with aged_store(str(tmp_path / "archive.sqlite3")) as aged:
        aged.clock.ahead += timedelta(days=50)
        async with archiving(aged.store, None, 9):
            assert (await aged.engine.list_events(limit=1)).data
        assert (await read_archive(aged.store)).model_dump() == {
            "lag_s": None, "archived_to": None, "checkpoint": None
        }  # fmt: skip
