"""What both databases do: transactions with conditions, values as they are, and faults of one type."""

import asyncio
import contextlib
from typing import Any

import pytest
from support.fixtures.archives import add_numbers, in_processes

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import ArchiveUnfit, Change, Database, Row

ADD = "INSERT INTO numbers VALUES ($1, $2)"
SET = "UPDATE counter SET value = $1 WHERE value = $2"
ALL = "SELECT name, number FROM numbers ORDER BY number"


def add(*rows: Row) -> Change:
    return Change(ADD, rows)


async def test_all_changes_of_a_transaction_are_there_for_another_connection(
    table: Database, archive_location: str
) -> None:
    assert await table.write([add(("a", 1), ("b", 2)), Change(SET, [(7, 0)], is_condition=True)])
    other = Archive.at(archive_location).database
    await other.open()
    assert await other.fetch(ALL) == [("a", 1), ("b", 2)]
    assert await other.fetch("SELECT value FROM counter") == [(7,)]
    await other.aclose()


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_condition_that_does_not_hold_undoes_all_changes(table: Database, is_first: bool) -> None:
    condition = Change(SET, [(7, 99)], is_condition=True)
    changes = [condition, add(("a", 1))] if is_first else [add(("a", 1)), condition]
    assert not await table.write(changes)
    assert await table.fetch(ALL) == []
    assert await table.write([add(("a", 1))])
    assert await table.fetch(ALL) == [("a", 1)]


async def test_a_condition_without_parameters_counts_too(table: Database) -> None:
    assert not await table.write([Change("UPDATE counter SET value = 1 WHERE value = 9", is_condition=True)])
    assert await table.write([Change("UPDATE counter SET value = 1 WHERE value = 0", is_condition=True)])
    assert await table.fetch("SELECT value FROM counter") == [(1,)]


async def test_a_change_without_a_condition_may_change_nothing(table: Database) -> None:
    assert await table.write([Change(SET, [(7, 99)]), add(("a", 1))])
    assert await table.fetch(ALL) == [("a", 1)]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (add(("c", 3), ("a", 1)), ArchiveUnfit),  # the key is taken: a retry would fail, too
        (Change("INSERT INTO nowhere VALUES ($1)", [(1,)]), ArchiveUnavailable),
        (Change("UPDATE counter SET value = NULL"), ArchiveUnfit),
        (add(("d", 2**63)), ArchiveUnavailable),
    ],
    ids=["key", "table", "null", "number"],
)
async def test_an_error_undoes_all_changes_and_the_next_write_works(
    table: Database, wrong: Change, error: type[Exception]
) -> None:
    await table.write([add(("a", 1))])
    with pytest.raises(error, match=r"[Tt]he archive"):
        await table.write([add(("b", 2)), wrong])
    assert await table.fetch(ALL) == [("a", 1)]
    await table.write([add(("e", 5))])
    assert await table.fetch(ALL) == [("a", 1), ("e", 5)]


@pytest.mark.parametrize("statement", ["SELECT nothing FROM nowhere", "no SQL"])
async def test_an_error_in_a_read_is_unavailable_and_the_next_read_works(
    table: Database, statement: str
) -> None:
    with pytest.raises(ArchiveUnavailable):
        await table.fetch(statement)
    assert await table.fetch(ALL) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "'",
        '"',
        "''; DROP TABLE numbers; --",
        "a\nb\r\n\tc",
        "\\",
        "$1 ?1 %s :a {}",
        "ä € 漢 😀",
        "x" * 70_000,
    ],
    ids=range(10),
)
async def test_a_text_comes_back_as_it_was(table: Database, text: str) -> None:
    await table.write([add((text, 1))])
    assert await table.fetch("SELECT name FROM numbers WHERE name = $1", text) == [(text,)]


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**53 - 1, -(2**53), 2**63 - 1, -(2**63)])
async def test_a_number_comes_back_as_it_was(table: Database, number: int) -> None:
    await table.write([add(("a", number))])
    ((found,),) = await table.fetch("SELECT number FROM numbers WHERE number = $1", number)
    assert type(found) is int
    assert found == number


async def test_null_is_none(database: Database) -> None:
    await database.write([Change("CREATE TABLE holes (id BIGINT, name TEXT, number BIGINT)")])
    rows = [(1, None, None), (2, "", 0)]
    await database.write([Change("INSERT INTO holes VALUES ($1, $2, $3)", rows)])
    assert await database.fetch("SELECT * FROM holes ORDER BY id") == rows


async def test_parameters_go_by_their_number(table: Database) -> None:
    await table.write([Change("INSERT INTO numbers (number, name) VALUES ($2, $1)", [("a", 1), ("b", 2)])])
    found = "SELECT name, number FROM numbers WHERE (number = $2 OR number = $2 + $3) AND name <> $1"
    assert await table.fetch(found, "a", 1, 1) == [("b", 2)]


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
async def test_a_text_that_cannot_be_stored_is_unavailable_or_comes_back(table: Database, text: str) -> None:
    # The engine takes neither.
    with contextlib.suppress(ArchiveUnavailable):
        await table.write([add((text, 1))])
        assert await table.fetch(ALL) == [(text, 1)]
    await table.write([add(("a", 2))])


async def test_processes_write_at_the_same_time(table: Database, archive_location: str) -> None:
    jobs = [(archive_location, f"process {number}", 50) for number in range(3)]
    assert await asyncio.to_thread(in_processes, add_numbers, jobs) == [0, 0, 0]
    assert await table.fetch("SELECT count(*) FROM numbers") == [(150,)]
    assert await table.fetch("SELECT value FROM counter") == [(150,)]


async def test_tasks_write_at_the_same_time(table: Database) -> None:
    more = Change("UPDATE counter SET value = value + 1")
    await asyncio.gather(*(table.write([add(("a", number)), more]) for number in range(40)))
    assert await table.fetch("SELECT value FROM counter") == [(40,)]
    assert len(await table.fetch(ALL)) == 40


async def test_a_canceled_write_is_whole_or_absent_and_the_next_one_works(table: Database) -> None:
    written = 0
    for number in range(30):
        changes = [add(*(("a", number * 1_000 + each) for each in range(300)))]
        changes.append(Change("UPDATE counter SET value = value + 1"))
        task = asyncio.create_task(table.write(changes))
        await asyncio.sleep(number / 3_000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            written += await task
    assert await table.write([add(("b", 1))])
    ((count,),) = await table.fetch("SELECT count(*) FROM numbers WHERE name = 'a'")
    ((value,),) = await table.fetch("SELECT value FROM counter")
    assert count == value * 300
    assert value >= written


async def test_a_canceled_call_raises_that_it_was_canceled(table: Database) -> None:
    for _ in range(10):
        task = asyncio.create_task(table.write([add(*(("a", each) for each in range(2_000)))]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_it_closes_twice_and_opens_again(table: Database) -> None:
    await table.write([add(("a", 1))])
    await table.open()  # nothing happens
    await table.aclose()
    await table.aclose()
    for call in (table.fetch(ALL), table.write([add(("b", 2))])):
        with pytest.raises(ArchiveUnavailable, match="it is not open"):
            await call
    await table.open()
    assert await table.fetch(ALL) == [("a", 1)]


async def test_it_is_opened_at_the_same_time(archive_location: str) -> None:
    database = Archive.at(archive_location).database
    await asyncio.gather(*(database.open() for _ in range(5)))
    assert await database.fetch("SELECT 1") == [(1,)]
    await database.aclose()


async def test_a_call_that_is_under_way_ends_before_the_connection_does(table: Database) -> None:
    task = asyncio.create_task(table.write([add(*(("a", each) for each in range(3_000)))]))
    await asyncio.sleep(0.002)
    await table.aclose()
    result: Any = (await asyncio.gather(task, return_exceptions=True))[0]
    assert result is True or isinstance(result, ArchiveUnavailable)
    await table.open()
    ((count,),) = await table.fetch("SELECT count(*) FROM numbers")
    assert count == (3_000 if result is True else 0)
