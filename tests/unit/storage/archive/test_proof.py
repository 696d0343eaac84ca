"""The proof of checkpoints: each follows from the history up to it, and what is changed by hand is named."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.aged_store import AgedStore, aged_store
from support.fixtures.store_setup import client_of

from technopay.engine.models import Difference
from technopay.storage.archive.checkpoints import read_checkpoints
from technopay.storage.archive.database import Change
from technopay.storage.archive.verify import verify

FIRST = "(SELECT min(entry_ms) FROM checkpoints)"
LAST = "(SELECT max(entry_ms) FROM checkpoints)"
NAME = "checkpoints_follow_from_history"


@pytest.fixture
async def aged(archive_location: str) -> AsyncIterator[AgedStore]:
    """A store that was trimmed behind two checkpoints."""
    async with aged_store(archive_location) as aged:
        await aged.trim_twice()
        yield aged


async def change(aged: AgedStore, *statements: str) -> list[Difference]:
    """Change the archive by hand; return the differences of the checkpoints."""
    await aged.archive.database.write([Change(each) for each in statements])
    found = await aged.verify()
    assert not found.clean
    return [each for each in found.differences if each.invariant == NAME]


async def test_checkpoints_of_a_whole_archive_are_proved(aged: AgedStore) -> None:
    assert len(await read_checkpoints(aged.archive, 0)) == 2
    for found in (await aged.verify(), await verify(aged.archive)):
        assert (found.clean, found.differences) == (True, [])
    await aged.deposit()
    await aged.trim()
    assert (await aged.verify()).differences == []
    counts = await aged.archive.database.fetch(
        "SELECT count(*) FROM checkpoint_rows GROUP BY entry_ms ORDER BY entry_ms"
    )
    assert len(counts) == 2, "the first one has no rows any more"


@pytest.mark.parametrize("which", [FIRST, LAST])
@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("chain", "'another'", "chain"),
        ("entries", "entries + 1", "entries"),
        ("digest_before", "'another'", "digest_before"),
        ("digest", "'another'", "digest"),
        ("entry_number", "entry_number + 1", "last entry"),
        ("entry_ms", "entry_ms - 1", "last entry"),
        ("entry_ms", "9999999999999", "last entry"),
    ],
)
async def test_a_changed_checkpoint_is_named(
    aged: AgedStore, which: str, column: str, value: str, what: str
) -> None:
    before = {str(each.position) for each in await read_checkpoints(aged.archive, 0)}
    found = await change(aged, f"UPDATE checkpoints SET {column} = {value} WHERE entry_ms = {which}")
    after = {str(each.position) for each in await read_checkpoints(aged.archive, 0)}
    changed = (after - before) or before
    assert [each.what for each in found if any(position in each.subject for position in changed)].count(what)


async def test_a_changed_checkpoint_with_its_digest_computed_anew_breaks_the_chain_of_digests(
    aged: AgedStore,
) -> None:
    first, _ = await read_checkpoints(aged.archive, 0)
    found = await change(aged, f"UPDATE checkpoints SET digest = 'another' WHERE entry_ms = {FIRST}")
    assert {each.what for each in found} == {"digest", "digest_before"}
    assert first.digest in {each.found for each in found if each.what == "digest_before"}


async def test_a_checkpoint_that_was_removed_is_named(aged: AgedStore) -> None:
    (difference,) = await change(aged, f"DELETE FROM checkpoints WHERE entry_ms = {FIRST}")
    assert difference.what == "digest_before"


async def test_the_checkpoint_of_the_store_has_to_be_in_the_archive(aged: AgedStore) -> None:
    trimmed = await aged.store._partition.read_trimmed()
    assert trimmed is not None
    (difference,) = await change(aged, f"DELETE FROM checkpoints WHERE entry_ms = {LAST}")
    assert difference.subject == f"checkpoint {trimmed.to} of partition 00"
    assert (difference.what, difference.found) == ("digest", "none")
    assert trimmed.checkpoint in difference.expected


async def test_a_checkpoint_of_another_digest_than_the_store_recorded_is_named(aged: AgedStore) -> None:
    key = aged.store._partition.keys.key("archive")
    await client_of(aged.store).hset(key, "checkpoint", "another")
    (difference,) = (await aged.verify()).differences
    assert (difference.invariant, difference.expected) == (NAME, "another, as the store has it")


@pytest.mark.parametrize("which", [FIRST, LAST])
async def test_a_row_of_a_checkpoint_that_was_changed_is_named(aged: AgedStore, which: str) -> None:
    kind = "" if type(aged.archive.database).__name__ == "SqliteDatabase" else "::json"
    row = f"entry_ms = {which} AND number = 2"
    (difference,) = await change(
        aged, f"""UPDATE checkpoint_rows SET content = '["wallet",1]'{kind} WHERE {row}"""
    )
    assert (difference.what, difference.found) == ("row 2", '["wallet",1]')
    assert difference.expected.startswith('["wallet","wal_')


@pytest.mark.parametrize("condition", ["number = 1", "number = 2", "number > 2", "number > 0"])
async def test_a_row_that_the_last_checkpoint_lacks_is_named(aged: AgedStore, condition: str) -> None:
    (difference,) = await change(aged, f"DELETE FROM checkpoint_rows WHERE entry_ms = {LAST} AND {condition}")
    number = {"number > 2": 3, "number = 2": 2}.get(condition, 1)
    assert (difference.what, difference.found) == (f"row {number}", "none")


async def test_the_last_checkpoint_has_all_rows_also_if_the_store_is_not_asked(aged: AgedStore) -> None:
    await change(aged, f"DELETE FROM checkpoint_rows WHERE entry_ms = {LAST} AND number = 1")
    (difference,) = (await verify(aged.archive)).differences
    assert (difference.what, difference.found) == ("row 1", "none")


async def test_a_row_that_was_added_to_a_checkpoint_is_named(aged: AgedStore) -> None:
    ((count,),) = await aged.archive.database.fetch(
        f"SELECT max(number) FROM checkpoint_rows WHERE entry_ms = {LAST}"
    )
    (difference,) = await change(
        aged,
        f"INSERT INTO checkpoint_rows SELECT partition, entry_ms, entry_number, number + {count}, content"
        f" FROM checkpoint_rows WHERE entry_ms = {LAST} AND number = 1",
    )
    assert (difference.what, difference.expected) == (f"row {count + 1}", "none")


async def test_rows_that_are_being_removed_are_no_difference(aged: AgedStore) -> None:
    """A trimmer removes rows that are not needed in steps, and can be killed between them."""
    remove = f"DELETE FROM checkpoint_rows WHERE entry_ms = {FIRST} AND number <= 3"
    await aged.archive.database.write([Change(remove)])
    assert (await aged.verify()).differences == []


async def test_a_payment_that_a_checkpoint_needs_is_missed(aged: AgedStore) -> None:
    found = await change(aged, f"DELETE FROM payments WHERE id = '{aged.records['part'].id}'")
    assert {each.expected for each in found} == {"one that can be computed"}
    assert all(aged.records["part"].id in each.found for each in found)


async def test_rows_of_no_partition_are_counted(aged: AgedStore) -> None:
    for table in ("checkpoints", "checkpoint_rows"):
        await aged.archive.database.write([Change(f"UPDATE {table} SET partition = 7")])
    named = {(each.subject, each.what) for each in (await aged.verify()).differences}
    assert named >= {("checkpoints", "rows of no partition"), ("checkpoint_rows", "rows of no partition")}


async def test_checkpoints_of_several_partitions_are_proved(tmp_path: Path) -> None:
    async with aged_store(str(tmp_path / "archive.sqlite3"), partitions=4) as aged:
        await aged.trim_twice()
        assert (await aged.verify()).differences == []
        assert (await aged.store.audit(full=True)).clean
        database = aged.archive.database
        ((partition, count),) = await database.fetch(
            "SELECT partition, count(*) FROM checkpoints GROUP BY partition ORDER BY count(*) DESC LIMIT 1"
        )
        assert count == 2
        await database.write([Change(f"UPDATE checkpoints SET entries = 1 WHERE partition = {partition}")])
        found = (await aged.verify()).differences
        assert {each.invariant for each in found} == {NAME}
        assert all(each.subject.endswith(f"partition {partition:02x}") for each in found)
