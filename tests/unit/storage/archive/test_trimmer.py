"""The trimmer: trims behind a checkpoint, one process at a time, and goes on where another one ended."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.fixtures import webhook_calls
from support.fixtures.all_reads import make_past
from support.fixtures.audit import assert_clean
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.store_commands import take_due
from support.fixtures.store_setup import DAY_MS, Setup, client_of
from support.fixtures.trimming import Trimming, relay_journals

from technopay.engine.errors import ArchiveUnavailable
from technopay.engine.values import BEGINNING, Position
from technopay.storage import Archive, ArchiveUnfit, RedisStore
from technopay.storage.archive import trimmer as trimming_module
from technopay.storage.archive.checkpoints import last_checkpoint, read_checkpoints
from technopay.storage.archive.commands import ClaimTrim
from technopay.storage.archive.database import Change
from technopay.storage.archive.trimmer import Trimmer

HOUR_MS = 3_600_000


@pytest.fixture
def store(fake_store: RedisStore) -> RedisStore:
    return fake_store


@pytest.fixture
async def same(trimming: Trimming, tmp_path: Path) -> AsyncIterator[Archive]:
    """The archive, as another process uses it."""
    async with Archive.at(str(tmp_path / "archive.sqlite3")) as same:
        await same.bind(await trimming.store.read_meta())
        yield same


async def add_past(trimming: Trimming, count: int = 1) -> None:
    for _ in range(count):
        await make_past(trimming.setup, "alice")
    await trimming.copy()


async def checkpoints_of(trimming: Trimming) -> list[Position]:
    return [each.position for each in await read_checkpoints(trimming.archive, 0)]


async def rows_at(archive: Archive) -> list[Position]:
    """Return the positions of the checkpoints that have rows."""
    found = await archive.database.fetch(
        "SELECT DISTINCT entry_ms, entry_number FROM checkpoint_rows ORDER BY 1, 2"
    )
    return [Position(*row) for row in found]


def pausing(trimmer: Trimmer, monkeypatch: pytest.MonkeyPatch, then: Any) -> list[float]:
    """Call something at the first pause of a trimmer; return the times of all pauses."""
    pauses: list[float] = []

    async def pause(spent_s: float) -> None:
        pauses.append(spent_s)
        if len(pauses) == 1:
            await then()

    monkeypatch.setattr(trimmer, "_pause_briefly", pause)
    return pauses


@pytest.mark.parametrize("keep_days", [6, 0, -1])
async def test_entries_are_kept_for_a_week_at_least(
    store: RedisStore, archive: Archive, keep_days: int
) -> None:
    with pytest.raises(ValueError, match="keep_days has to be 7 or more"):
        await store.archiver(archive, keep_days=keep_days)
    await store.archiver(archive, keep_days=7)


async def test_a_run_of_the_archiver_trims_what_is_older_than_the_days(
    clocked: Setup, archive: Archive, fake_clock: FakeClock
) -> None:
    store, trimmed = clocked.store, clocked.store._partitions[0].read_trimmed
    archiver = await store.archiver(archive, keep_days=10)
    ends = []
    for _ in range(4):
        await make_past(clocked, "alice")
        ends.append(await store.read_end(0))
        await relay_journals(store)
        await archiver.run()
        fake_clock.advance(4 * DAY_MS)
        await take_due(store, 1_000)
    assert await trimmed() is not None
    await archiver.run()
    found = await trimmed()
    assert found is not None
    assert found.to == ends[1], "8 and 4 days are too young; 12 and 16 are not"
    assert [each.position for each in await read_checkpoints(archive, 0)] == ends[:2]
    await assert_clean(store)
    assert (await store.audit(full=True)).clean
    # Within a day there is no other checkpoint.
    fake_clock.advance(2 * DAY_MS + 1_000)
    await take_due(store, 1_000)
    await archiver.run()
    assert [each.position for each in await read_checkpoints(archive, 0)] == ends[:3]
    fake_clock.advance(DAY_MS // 2)
    before = await dump(store)
    await archiver.run()
    assert await dump(store) == before, "nothing more can leave, so nothing is written"


async def test_a_checkpoint_is_not_due_within_a_day_of_the_last_one(
    clocked: Setup, archive: Archive, fake_clock: FakeClock
) -> None:
    store, archiver = clocked.store, await clocked.store.archiver(archive, keep_days=7)
    ends = []
    for hours in (1, 22, 3, 0):  # these are 0, 1, 23 and 26 hours old
        await clocked.wallet(balance=0)
        ends.append(await store.read_end(0))
        fake_clock.advance(hours * HOUR_MS)
    await relay_journals(store)
    await archiver.run()
    fake_clock.advance(6 * DAY_MS - HOUR_MS)
    await take_due(store, 1_000)
    for waited_hours, expected in ((0, [1]), (21, [1]), (1, [1]), (2, [1]), (1, [1, 3])):
        fake_clock.advance(waited_hours * HOUR_MS)
        await archiver.run()
        assert [each.position for each in await read_checkpoints(archive, 0)] == [
            ends[each] for each in expected
        ]


async def test_a_webhook_that_is_behind_keeps_its_entries(trimming: Trimming) -> None:
    setup = trimming.setup
    await add_past(trimming)
    await webhook_calls.save(setup)
    await add_past(trimming)
    await webhook_calls.save(setup, 1, "paused")
    await trimming.trimmer.run()
    cursor = (await setup.fields("webhook", webhook_calls.WEBHOOK))["cursor"]
    assert await trimming.trimmed_to() == Position.of(cursor)
    await webhook_calls.save(setup, 2)
    while (await webhook_calls.take(setup)).has_more:
        pass
    await trimming.trimmer.run()
    assert await trimming.trimmed_to() == await setup.store.read_end(0)


async def test_two_trimmers_at_once_trim_once(trimming: Trimming, same: Archive) -> None:
    await add_past(trimming, 2)
    other = trimming.new_trimmer(same)
    await asyncio.gather(trimming.trimmer.run(), other.run())
    assert await checkpoints_of(trimming) == [await trimming.trimmed_to()] == await trimming.kept()


async def test_one_process_trims_a_partition_at_a_time(trimming: Trimming) -> None:
    await add_past(trimming)
    claimed = await trimming.store.run(ClaimTrim(0, -1_000, True, "another", []))
    assert claimed.code == "ok"
    await trimming.trimmer.run()
    assert (await trimming.trimmed_to(), await checkpoints_of(trimming)) == (BEGINNING, [])
    await trimming.end_claims()
    await trimming.trimmer.run()
    assert await trimming.kept() == [await trimming.trimmed_to()]


async def test_a_checkpoint_that_another_process_added_meanwhile_is_not_added_twice(
    trimming: Trimming, same: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_past(trimming)
    other = trimming.new_trimmer(same)

    async def take_over() -> None:
        await trimming.end_claims()
        await other.run()

    assert pausing(trimming.trimmer, monkeypatch, take_over) == []
    await trimming.trimmer.run()
    (cut,) = await checkpoints_of(trimming)
    assert await trimming.kept() == [cut]
    assert await trimming.trimmed_to() == cut
    assert await rows_at(trimming.archive) == [cut]


async def test_a_trimmer_that_lost_its_claim_adds_no_checkpoint(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_past(trimming)
    monkeypatch.setattr(trimming_module, "RENEW_S", -1.0)

    async def take_over() -> None:
        await trimming.end_claims()
        assert (await trimming.store.run(ClaimTrim(0, -1_000, True, "another", []))).code == "ok"

    assert pausing(trimming.trimmer, monkeypatch, take_over) == []
    await trimming.trimmer.run()
    assert (await trimming.trimmed_to(), await checkpoints_of(trimming)) == (BEGINNING, [])


async def test_a_claim_is_kept_while_a_checkpoint_is_computed(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_past(trimming)
    monkeypatch.setattr(trimming_module, "RENEW_S", -1.0)
    monkeypatch.setattr(trimming_module, "BATCH", 5)
    key, untils = trimming.setup.keys.key("archive"), []

    async def pause(_: float) -> None:
        untils.append(await client_of(trimming.store).hget(key, "trimming_until"))
        await client_of(trimming.store).hset(key, "trimming_until", int(untils[-1]) - 10_000)

    monkeypatch.setattr(trimming.trimmer, "_pause_briefly", pause)
    await trimming.trimmer.run()
    assert len(untils) > 3
    assert all([int(each) > await trimming.setup.now_ms() + 15_000 for each in untils])
    assert await trimming.kept() == [await trimming.trimmed_to()]


async def test_the_next_trimmer_goes_on_where_one_stopped(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_past(trimming)
    stopped, before = trimming.new_trimmer(), await trimming.kept()
    pauses = pausing(stopped, monkeypatch, lambda: stopped.stop(0.0))
    await stopped.run()
    assert len(pauses) == 1
    assert (await trimming.kept(), await checkpoints_of(trimming)) == (before, [])
    await trimming.end_claims()
    await trimming.trimmer.run()
    assert await trimming.kept() == await checkpoints_of(trimming) == await rows_at(trimming.archive)


async def test_a_trimmer_that_stopped_behind_its_checkpoint_leaves_the_trim_to_the_next(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_past(trimming)

    async def vanish(*_: object) -> None:
        pass

    with monkeypatch.context() as killed:
        killed.setattr(trimming.trimmer, "_remove_entries", vanish)
        await trimming.trimmer.run()
    (cut,) = await checkpoints_of(trimming)
    assert await trimming.trimmed_to() == BEGINNING
    await trimming.trimmer.run()
    assert await trimming.kept() == [await trimming.trimmed_to()] == [cut] == await checkpoints_of(trimming)


async def test_a_trimmer_beside_payments_rests_and_stops_at_once(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming_module, "REST", 1e9)
    monkeypatch.setattr(trimming_module, "REST_S_MAX", 60.0)
    await add_past(trimming)
    rests, rest = asyncio.Event(), trimming.trimmer._rest

    async def rest_noted(spent_s: float) -> None:
        rests.set()
        await rest(spent_s)

    monkeypatch.setattr(trimming.trimmer, "_rest", rest_noted)
    trimming.trimmer.start()
    await rests.wait()
    async with asyncio.timeout(10):
        await trimming.trimmer.stop(30.0)
    assert await checkpoints_of(trimming) == []


async def test_rows_of_the_last_two_checkpoints_of_the_store_are_kept(trimming: Trimming) -> None:
    cuts = []
    for _ in range(4):
        await add_past(trimming)
        await trimming.trimmer.run()
        cuts.append(await trimming.trimmed_to())
        assert await rows_at(trimming.archive) == cuts[-2:]
        assert await checkpoints_of(trimming) == cuts
    digests = [each.digest for each in await read_checkpoints(trimming.archive, 0)]
    assert [each.digest_before for each in await read_checkpoints(trimming.archive, 0)][1:] == digests[:-1]


async def test_entries_leave_in_steps_until_none_is_left(
    trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming_module, "TRIMMED", 100)
    partition, waits = trimming.store._partitions[0], []
    async with client_of(trimming.store).pipeline(transaction=False) as pipeline:
        for _ in range(450):
            pipeline.xadd(partition.keys.journal, {"user.unlocked": "alice"})
        await pipeline.execute()
    await trimming.copy()

    async def sleep(delay_s: float) -> None:
        waits.append((delay_s, len(await trimming.kept())))

    monkeypatch.setattr(trimming.trimmer._clock, "sleep", sleep)
    await trimming.trimmer.run()
    steps = [left for delay_s, left in waits if delay_s == trimming_module.TRIM_PAUSE_S]
    assert len(steps) >= 4
    assert steps == sorted(steps, reverse=True)
    assert len(await trimming.kept()) == 1


async def test_without_news_nothing_is_written(trimming: Trimming) -> None:
    await add_past(trimming)
    await trimming.trimmer.run()
    before = await dump(trimming.store)
    await trimming.trimmer.run()
    await trimming.archiver.run()
    assert await dump(trimming.store) == before


async def test_an_archive_that_is_away_is_logged_once_and_history_leaves_later(
    trimming: Trimming, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_past(trimming)

    async def fail(*_: object) -> None:
        raise ArchiveUnavailable("The archive: it is away")

    with caplog.at_level(logging.INFO):
        with monkeypatch.context() as away:
            away.setattr(trimming.archive.database, "fetch", fail)
            assert [await trimming.trimmer._step() for _ in range(3)] == [False] * 3
        assert await trimming.trimmed_to() == BEGINNING
        monkeypatch.setattr(trimming_module, "REST", 0.0)
        await trimming.trimmer._step()
    texts = [each.getMessage() for each in caplog.records if "leaves the store" in each.getMessage()]
    assert len(texts) == 2, texts
    assert "it is away" in texts[0]
    assert await trimming.kept() == [await trimming.trimmed_to()]


@pytest.mark.parametrize("is_forged", [False, True])
async def test_an_archive_with_a_changed_event_makes_no_checkpoint(
    trimming: Trimming, *, is_forged: bool
) -> None:
    await add_past(trimming)
    before = await trimming.kept()
    changes = [
        Change("UPDATE events SET fields = replace(fields, '500', '501') WHERE type = 'payment.processing'")
    ]
    if is_forged:  # the digests behind it were computed anew
        changes = [Change("UPDATE events SET chain = 'f' || substr(chain, 2) || 'f'")]
    await trimming.archive.database.write(changes)
    why = "has another history up to" if is_forged else r"the archived entry .* was changed"
    with pytest.raises(ArchiveUnfit, match=why):
        await trimming.trimmer.run()
    assert (await trimming.kept(), await checkpoints_of(trimming)) == (before, [])


async def test_an_archive_with_another_entry_at_the_cut_makes_no_checkpoint(trimming: Trimming) -> None:
    await add_past(trimming)
    end = (await trimming.kept())[-1]
    change = "UPDATE events SET subject = 'mallory' WHERE entry_ms = $1 AND entry_number = $2"
    await trimming.archive.database.write([Change(change, [end])])
    with pytest.raises(ArchiveUnfit, match=f"entry {end} of partition 00 differs in the store and its archive"):
        await trimming.trimmer.run()
    assert await checkpoints_of(trimming) == []


@pytest.mark.corrupts
async def test_books_with_differences_are_not_trimmed(trimming: Trimming) -> None:
    wallet = await trimming.setup.wallet()
    lie = {"wallet.deposited": wallet, "amount": "5", "balance": "7"}
    await client_of(trimming.store).xadd(trimming.store._partitions[0].keys.journal, lie)
    await add_past(trimming)
    before = await trimming.kept()
    with pytest.raises(ArchiveUnfit, match="the books of partition 00 have differences: run an audit"):
        await trimming.trimmer.run()
    assert (await trimming.kept(), await checkpoints_of(trimming)) == (before, [])


@pytest.mark.corrupts
async def test_a_changed_checkpoint_makes_no_other_one(trimming: Trimming) -> None:
    await add_past(trimming)
    await trimming.trimmer.run()
    await trimming.archive.database.write(
        [Change("UPDATE checkpoint_rows SET content = replace(content, 'EUR', 'USD')")]
    )
    await add_past(trimming)
    before = await trimming.kept()
    with pytest.raises(ArchiveUnfit, match=r"the checkpoint .* was changed in the archive"):
        await trimming.trimmer.run()
    assert await trimming.kept() == before
    assert (await last_checkpoint(trimming.archive, 0)).position == await trimming.trimmed_to()
