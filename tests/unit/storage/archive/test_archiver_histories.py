"""Archives and stores whose histories differ, and archivers that stop, fail, or wait for each other."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from support.fixtures.store_commands import read_archive
from support.fixtures.store_setup import Setup, client_of

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import Position
from technopay.storage import Archive, ArchiveUnfit, RedisStore
from technopay.storage.archive.archiver import Archiver
from technopay.storage.archive.commands import ClaimArchive
from technopay.storage.archive.database import Change
from technopay.storage.archive.rows import entry_of, event_rows, first_chain
from technopay.storage.archive.verify import verify
from technopay.storage.commands import RecordLoss
from technopay.storage.schema import next_incarnation

BEGINNING = Position(0, 0)
STRANGE = "0, 1, 'user.created', 'eve', '{}', '')"
"""The end of a row of `events` that no archiver wrote."""


@pytest.fixture
def store(fake_store: RedisStore) -> RedisStore:
    return fake_store


async def forge_chain(archive: Archive, before: str, after: str) -> None:
    """Change an event, and compute all digests anew, as someone can who may write to the archive."""
    rows = await archive.read_events(0, BEGINNING, 1_000)
    entries = [entry_of((*row[:6], row[6].replace(before, after), row[7])) for row in rows]
    forged = event_rows(0, entries, first_chain((await archive.read_meta())["origin"], 0))
    assert [row[6] for row in forged] != [row[6] for row in rows]
    changes = [
        Change(
            "UPDATE events SET fields = $1, chain = $2 WHERE entry_ms = $3 AND entry_number = $4",
            [(row[6], row[7], row[1], row[2]) for row in forged],
        ),
        Change("UPDATE positions SET chain = $1", [(forged[-1][7],)]),
    ]
    await archive.database.write(changes)


@pytest.mark.parametrize("is_idle", [True, False])
async def test_a_new_archive_in_the_place_of_one_takes_up_all_that_the_store_has(
    setup: Setup, archiver: Archiver, tmp_path: Path, *, is_idle: bool
) -> None:
    wallet_id = await setup.wallet()
    added = await archiver.run()
    if not is_idle:
        await setup.deposit(wallet_id, 5)
    async with Archive.at(str(tmp_path / "new.sqlite3")) as new:
        assert await (await setup.store.archiver(new)).run() == added + (not is_idle)
        assert (await verify(new)).clean


@pytest.mark.corrupts
async def test_a_store_that_is_rolled_back_between_two_batches_is_refused(
    setup: Setup, archive: Archive, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.storage.archive.archiver.BATCH", 2)
    wallet_id = await setup.wallet()
    append = archive.append

    async def append_and_roll_back(*values: Any) -> Any:
        moved = await append(*values)
        client = client_of(setup.store)
        for entry_id, _ in (await client.xrange(setup.keys.journal))[1:]:
            await client.xdel(setup.keys.journal, entry_id)
        await setup.deposit(wallet_id, 5)
        return moved

    monkeypatch.setattr(archive, "append", append_and_roll_back)
    with pytest.raises(ArchiveUnfit, match="is another one than its archive"):
        await archiver.run()
    assert len(await archive.read_events(0, BEGINNING, 10)) == 2


async def test_a_chain_that_was_computed_anew_is_refused_also_ahead_of_the_record_of_the_store(
    setup: Setup, archive: Archive, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet_id = await setup.wallet()
    await archiver.run()
    await setup.deposit(wallet_id, 7)

    async def fail(*_: Any) -> bool:
        return False

    with monkeypatch.context() as killed:
        killed.setattr(archiver, "_record", fail)
        await archiver._archive_partition(0)
    recorded = (await read_archive(setup.store)).archived_to
    assert recorded is not None
    position = await archive.read_position(0)
    assert position.position.at_ms >= recorded.timestamp() * 1000
    await forge_chain(archive, '"alice"', '"mallory"')
    for call in (archiver.compare, archiver.run):
        with pytest.raises(ArchiveUnfit, match="has another history up to"):
            await call()


async def test_a_chain_that_was_computed_anew_behind_its_store_is_refused_where_that_recorded_its_end(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    wallet_id = await setup.wallet()
    await archiver.run()
    behind = await archive.read_position(0)
    await setup.deposit(wallet_id, 7)
    await archiver.run()
    await setup.deposit(wallet_id, 8)
    changes = [
        Change("DELETE FROM events WHERE (entry_ms, entry_number) > ($1, $2)", [behind.position]),
        Change(
            "UPDATE positions SET entry_ms = $1, entry_number = $2, entries = $3",
            [(*behind.position, behind.entries)],
        ),
    ]
    await archive.database.write(changes)
    await forge_chain(archive, '"alice"', '"mallory"')
    with pytest.raises(ArchiveUnfit, match="has another history up to"):
        await archiver.run()


async def test_a_store_of_another_history_does_not_take_the_archive_over(
    setup: Setup, archive: Archive, archiver: Archiver, tmp_path: Path
) -> None:
    await setup.wallet()
    await archiver.run()
    meta = await setup.store.read_meta()
    async with RedisStore.fake() as other:
        await Setup(other).user("bob")
        following = await other.archiver(Archive(archive.database))
        # A copy of the store that lost entries, after its loss was accepted.
        following._meta = {**meta, "incarnation": next_incarnation(meta["incarnation"])}
        with pytest.raises(ArchiveUnfit, match="has no entry"):
            await following.begin()
    async with Archive.at(str(tmp_path / "archive.sqlite3")) as again:
        await (await setup.store.archiver(again)).begin()


async def test_the_archive_goes_on_after_a_loss_that_it_does_not_share(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    wallet_id = await setup.wallet()
    await archiver.run()
    before = (await setup.store.read_meta())["incarnation"]
    lost = str(Position(await setup.now_ms(), 9))
    await setup.store.run(RecordLoss(before, lost))
    assert await setup.store.accept_loss(before)
    await setup.deposit(wallet_id, 5)
    following = await setup.store.archiver(archive)
    assert await following.run() == 1
    assert (
        (await archive.read_meta())["incarnation"] == (await setup.store.read_meta())["incarnation"] != before
    )
    assert (await verify(archive)).clean
    with pytest.raises(ArchiveUnfit, match="of another store"):
        await Archive(archive.database).bind({**await setup.store.read_meta(), "incarnation": before})


async def test_an_archiver_that_fails_leaves_the_claim_to_others(
    setup: Setup, archive: Archive, archiver: Archiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> bool:
        raise ArchiveUnavailable("The archive: no space left")

    await archiver.begin()
    monkeypatch.setattr(archive.database, "write", fail)
    with pytest.raises(ArchiveUnavailable):
        await archiver._archive_partition(0)
    async with Archive.at(str(tmp_path / "archive.sqlite3")) as same:
        assert await (await setup.store.archiver(same))._step()


async def test_entries_that_wait_for_an_archive_that_never_worked_are_shown(
    setup: Setup, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    async with Archive.at(str(tmp_path / "folder")) as archive:
        archiver = await setup.store.archiver(archive)
        assert not await archiver._step()
        state = await read_archive(setup.store)
        assert (state.archived_to, state.lag_s is None) == (None, False)
        claims = await client_of(setup.store).hget(setup.keys.key("archive"), "claim")
        assert not await archiver._step()
        assert await client_of(setup.store).hget(setup.keys.key("archive"), "claim") == claims


async def test_a_run_waits_for_the_process_that_has_the_claim(
    setup: Setup, archive: Archive, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await setup.store.run(ClaimArchive(0, "another", "0-0"))
    assert claimed.code == "ok"
    waits: list[float] = []

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)
        if len(waits) == 3:
            await client_of(setup.store).hdel(setup.keys.key("archive"), "owner", "claimed_until")

    monkeypatch.setattr(archiver._clock, "sleep", sleep)
    assert await archiver.run() == 1
    assert waits[:3] == [0.2] * 3


async def test_a_run_ends_if_another_process_has_the_claim_and_adds_nothing(
    setup: Setup, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(_: float) -> None:
        await setup.store.run(ClaimArchive(0, "another", "0-0"))

    await sleep(0)
    monkeypatch.setattr(archiver._clock, "sleep", sleep)
    with pytest.raises(ArchiveUnavailable, match="another process"):
        await archiver.run()


async def test_a_run_ends_beside_traffic(
    setup: Setup, archive: Archive, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet_id = await setup.wallet()
    append = archive.append

    async def append_beside_traffic(*values: Any) -> Any:
        await setup.deposit(wallet_id, 1)
        return await append(*values)

    monkeypatch.setattr(archive, "append", append_beside_traffic)
    assert await archiver.run() <= 20 * 250


async def test_an_archiver_that_rests_stops_at_once(
    setup: Setup, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.storage.archive.archiver.REST_S_MAX", 60.0)
    monkeypatch.setattr("technopay.storage.archive.archiver.REST", 1e9)
    rests, rest = asyncio.Event(), archiver._rest

    async def rest_noted(delay_s: float) -> None:
        rests.set()
        await rest(delay_s)

    monkeypatch.setattr(archiver, "_rest", rest_noted)
    async with archiver:
        await rests.wait()
        began_s = monotonic()
    assert monotonic() - began_s < 10
    assert (await read_archive(setup.store)).lag_s == 0


async def test_partitions_are_copied_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        RedisStore.fake(partitions=8) as store,
        Archive.at(str(tmp_path / "archive.sqlite3")) as archive,
    ):
        setup = Setup(store)
        for number in range(30):
            await setup.user(f"user{number}")
        archiver = await store.archiver(archive)
        held, most = 0, 0
        read, append = archiver._read_records, archive.append

        async def read_counted(*values: Any) -> Any:
            nonlocal held, most
            held += 1
            most = max(most, held)
            return await read(*values)

        async def append_counted(*values: Any) -> Any:
            nonlocal held
            moved = await append(*values)
            held -= 1
            return moved

        monkeypatch.setattr(archiver, "_read_records", read_counted)
        monkeypatch.setattr(archive, "append", append_counted)
        assert await archiver.run() == 30
        assert (held, most) == (0, 1)


async def test_one_partition_that_is_refused_is_logged_once_beside_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        RedisStore.fake(partitions=2) as store,
        Archive.at(str(tmp_path / "archive.sqlite3")) as archive,
    ):
        setup = Setup(store)
        for number in range(6):
            await setup.user(f"user{number}")
        archiver = await store.archiver(archive)
        await archiver.run()
        await archive.database.write([Change("UPDATE positions SET chain = 'other' WHERE partition = 1")])
        with caplog.at_level(logging.INFO):
            for number in range(6, 18):
                await setup.user(f"user{number}")
                await archiver._step()
        texts = [each.getMessage() for each in caplog.records if "archived" in each.getMessage()]
        assert len(texts) == 1, texts
        assert "partition 01" in texts[0]


async def test_a_number_that_no_database_stores_leaves_its_record_out(
    setup: Setup, archive: Archive, archiver: Archiver, caplog: pytest.LogCaptureFixture
) -> None:
    wallet_id = await setup.wallet()
    payment_id = await setup.succeeded(wallet_id)
    key = setup.keys.key("payment", payment_id)
    created_at = await client_of(setup.store).hget(key, "created_at")
    await client_of(setup.store).hset(key, "created_at", str(2**70))
    await archiver.run()
    await client_of(setup.store).hset(key, "created_at", created_at)
    assert await archive.find_ids("payments", 0, [payment_id]) == set()
    assert "the number is too large" in caplog.text


async def test_a_missing_position_is_a_defect_of_the_archive(archive: Archive, archiver: Archiver) -> None:
    await archiver.run()
    await archive.database.write([Change("DELETE FROM positions")])
    with pytest.raises(ArchiveUnfit, match="no position of partition 00"):
        await archiver.compare()


async def test_verification_beside_an_archiver_is_clean(
    setup: Setup, archive: Archive, archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet_id = await setup.wallet()
    payment_id, claim = await setup.processing(wallet_id)
    await archiver.run()
    read = archive.read_position

    async def read_and_go_on(number: int) -> Any:
        position = await read(number)
        monkeypatch.setattr(archive, "read_position", read)
        await setup.complete(payment_id, claim, "settled")
        await setup.succeeded(wallet_id)
        await archiver.run()
        return position

    monkeypatch.setattr(archive, "read_position", read_and_go_on)
    found = await verify(archive)
    assert found.differences == []
    assert (await verify(archive, await archiver.read_ends())).clean


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (["UPDATE payments SET read_ms = read_ms + 9000000000000"], "read at"),
        (["UPDATE events SET partition = 7 WHERE type = 'user.created'"], "rows of no partition"),
        (["UPDATE invoices SET partition = -1"], "rows of no partition"),
        ([f"INSERT INTO events VALUES (0, 9000000000000, {STRANGE}"], "events behind"),
        ([f"INSERT INTO events VALUES (0, 0, {STRANGE}"], "digest"),
    ],
)
async def test_rows_that_no_archiver_wrote_are_found(
    setup: Setup, archive: Archive, archiver: Archiver, statements: Sequence[str], what: str
) -> None:
    await setup.succeeded(await setup.wallet())
    await archiver.run()
    assert (await verify(archive, await archiver.read_ends())).clean
    await archive.database.write([Change(each) for each in statements])
    found = await verify(archive, await archiver.read_ends())
    assert any(each.what.startswith(what) for each in found.differences), found.differences


async def test_a_payment_that_ended_unread_is_no_difference(
    setup: Setup, archive: Archive, archiver: Archiver
) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    await archiver.run()
    await setup.cancel(payment_id)
    client = client_of(setup.store)
    kept = await client.hgetall(setup.keys.key("payment", payment_id))
    await client.delete(setup.keys.key("payment", payment_id))
    await archiver.run()
    await client.hset(setup.keys.key("payment", payment_id), mapping=kept)
    assert (await verify(archive, await archiver.read_ends())).clean
