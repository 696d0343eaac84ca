"""Which entries can leave a journal: each condition alone keeps them."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.fixtures import store_commands as run
from support.fixtures import webhook_calls
from support.fixtures.dumps import dump
from support.fixtures.store_setup import DAY_MS, Setup, client_of
from support.fixtures.trimming import relay_journals

from technopay.engine.values import Position
from technopay.engine.webhooks.commands import NoteWebhook
from technopay.storage.archive.commands import ClaimArchive, ClaimTrim, RecordArchived, TrimJournal
from technopay.storage.commands import RecordLoss

pytestmark = [pytest.mark.any_partition, pytest.mark.corrupts]
"""There is no archive, with which the books could be audited."""
KEEP_MS = 7 * DAY_MS


@dataclass
class Trim:
    """Trims the journal of alice's partition, without an archive."""

    setup: Setup
    number: int
    keep_ms: int = -1_000
    """Entries of the last moment can leave, too."""
    webhooks: tuple[str, ...] = ()
    process: str = "a trimmer"

    async def claim(self, *, is_wanted: bool = False) -> Any:
        command = ClaimTrim(self.number, self.keep_ms, is_wanted, self.process, self.webhooks)
        return await self.setup.store.run(command)

    async def bound(self) -> str:
        """Return the last entry that can leave."""
        claimed = await self.claim(is_wanted=True)
        assert claimed.code == "ok", claimed
        return str(claimed.value[0])

    async def trim(self, entry_id: str, claim: str | None = None, limit: int = 500) -> str:
        """Trim the journal behind an entry; return the code."""
        if claim is None:
            claim = (await self.claim(is_wanted=True)).token
        command = TrimJournal(self.number, claim, entry_id, "digest", self.keep_ms, limit, self.webhooks)
        return (await self.setup.store.run(command)).code

    async def entries(self) -> list[str]:
        partition = self.setup.store._partitions[self.number]
        return [each[0] for each in await partition.fetch("XRANGE", partition.keys.journal, "-", "+")]

    async def archive(self, entry_id: str) -> None:
        claim = (await self.setup.store.run(ClaimArchive(self.number, "an archiver", "0-0"))).token
        assert (
            await self.setup.store.run(RecordArchived(self.number, claim, entry_id, "a chain"))
        ).code == "ok"

    async def assert_kept(self, entry_id: str) -> None:
        """Assert that the journal cannot be trimmed behind an entry, and that trying writes nothing."""
        claim = (await self.claim(is_wanted=True)).token
        before = await dump(self.setup.store)
        assert (await self.claim()).code in ("nothing", "ok")
        assert await self.trim(entry_id, claim) == "needed"
        after = await dump(self.setup.store)
        assert timeless(after) == timeless(before)


def timeless(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out until when the claim is kept."""
    archive = {name: value for name, value in found["archive"].items() if name != "trimming_until"}
    return {**found, "archive": archive}


@pytest.fixture
async def trim(setup: Setup) -> Trim:
    """A journal of several entries that are all archived and relayed."""
    await setup.succeeded(await setup.wallet())
    trim = Trim(setup, run.partition(setup.store))
    await trim.archive((await trim.entries())[-1])
    await relay_journals(setup.store)
    return trim


async def test_what_nothing_waits_for_leaves_up_to_an_entry_that_stays(trim: Trim) -> None:
    entries = await trim.entries()
    cut = entries[3]
    claimed = await trim.claim()
    assert claimed.code == "ok"
    assert claimed.value == [entries[-1], entries[-1], "a chain", "", "", ""]
    assert await trim.trim(cut, claimed.token) == "ok"
    assert await trim.entries() == entries[3:]
    assert (await trim.claim()).value == [entries[-1], entries[-1], "a chain", cut, "digest", ""]
    trimmed = await trim.setup.store._partitions[trim.number].read_trimmed()
    assert trimmed == (trim.number, Position.of(cut), "digest")


async def test_the_last_entry_of_a_journal_always_stays(trim: Trim) -> None:
    entries = await trim.entries()
    assert await trim.trim(entries[-1]) == "ok"
    assert await trim.entries() == entries[-1:]
    assert (await trim.claim()).code == "ok", "records can leave yet"
    archive = trim.setup.store._partitions[trim.number].keys.key("archive")
    await client_of(trim.setup.store).hset(archive, "dropped_to", entries[-1])
    assert (await trim.claim()).code == "nothing", "the entry of the checkpoint is the only one"
    assert str(await trim.setup.store.read_end(trim.number)) == entries[-1]


async def test_what_is_not_archived_stays(trim: Trim) -> None:
    archived = (await trim.entries())[-1]
    wallet = await trim.setup.wallet()
    await trim.setup.deposit(wallet, 5)
    await relay_journals(trim.setup.store)
    assert await trim.bound() == archived
    await trim.assert_kept((await trim.entries())[-1])
    assert await trim.trim(archived) == "ok"


async def test_what_is_not_relayed_stays(trim: Trim) -> None:
    relayed = (await trim.entries())[-1]
    await trim.setup.wallet()
    last = (await trim.entries())[-1]
    await trim.archive(last)
    assert await trim.bound() == relayed
    await trim.assert_kept(last)
    await relay_journals(trim.setup.store)
    assert await trim.trim(last) == "ok"


async def test_nothing_leaves_before_anything_was_archived_or_relayed(setup: Setup) -> None:
    trim = Trim(setup, run.partition(setup.store))
    assert (await trim.claim()).code == "nothing"
    await trim.archive((await trim.entries())[-1])
    assert (await trim.claim()).code == "nothing"
    assert await trim.bound() == "0-0"


@pytest.mark.parametrize("status", ["active", "paused"])
async def test_what_a_webhook_has_not_read_stays(trim: Trim, status: str) -> None:
    setup = trim.setup
    await webhook_calls.save(setup)
    read = (await trim.entries())[-1]
    await setup.invoice()
    if status == "paused":
        await webhook_calls.save(setup, 1, "paused")
    last = (await trim.entries())[-1]
    await trim.archive(last)
    await relay_journals(setup.store)
    assert await trim.bound() == last
    trim.webhooks = (webhook_calls.WEBHOOK, "whk_00unknown")
    assert await trim.bound() == read
    await trim.assert_kept(last)
    if status == "paused":
        await webhook_calls.save(setup, 2)
    await webhook_calls.take(setup)
    assert await trim.trim(last) == "ok"


async def test_a_deleted_webhook_keeps_nothing(trim: Trim) -> None:
    await webhook_calls.save(trim.setup)
    await trim.setup.invoice()
    last = (await trim.entries())[-1]
    await trim.archive(last)
    await relay_journals(trim.setup.store)
    trim.webhooks = (webhook_calls.WEBHOOK,)
    assert await trim.bound() != last
    deleted = NoteWebhook(trim.number, webhook_calls.WEBHOOK, 9, "deleted", "", ())
    assert (await trim.setup.store.run(deleted)).code == "ok"
    assert await trim.bound() == last


async def test_what_is_too_young_stays(trim: Trim) -> None:
    entries = await trim.entries()
    trim.keep_ms = KEEP_MS
    assert (await trim.claim()).code == "nothing"
    await trim.assert_kept(entries[1])
    at_ms = Position.of(entries[2]).at_ms
    trim.keep_ms = await trim.setup.now_ms() - at_ms + 60_000
    await trim.assert_kept(entries[2])


async def test_a_lost_claim_trims_nothing(trim: Trim) -> None:
    setup, entries = trim.setup, await trim.entries()
    claim = (await trim.claim()).token
    other = replace(trim, process="another")
    assert (await other.claim()).code == "busy"
    assert (await other.claim(is_wanted=True)).code == "busy"
    assert (await trim.claim()).token == claim, "the same process keeps it"
    key = setup.store._partitions[trim.number].keys.key("archive")
    await client_of(setup.store).hset(key, "trimming_until", await setup.now_ms() - 1)
    taken = (await other.claim()).token
    assert taken != claim
    before = await dump(setup.store)
    assert await trim.trim(entries[2], claim) == "claim_lost"
    assert await dump(setup.store) == before
    assert await other.trim(entries[2], taken) == "ok"


async def test_an_end_of_a_claim_that_is_far_away_does_not_count(trim: Trim) -> None:
    """The clock of the server had been ahead."""
    setup = trim.setup
    await trim.claim()
    key = setup.store._partitions[trim.number].keys.key("archive")
    await client_of(setup.store).hset(key, "trimming_until", await setup.now_ms() + 3_600_000)
    assert (await replace(trim, process="another").claim()).code == "ok"


async def test_an_entry_that_the_journal_lacks_is_no_cut(trim: Trim) -> None:
    entries = await trim.entries()
    at = Position.of(entries[2])
    await trim.assert_kept(f"{at.at_ms}-{at.number + 7}")
    await trim.assert_kept("1-0")


async def test_a_cut_never_goes_back(trim: Trim) -> None:
    await add_entries(trim, 400)
    entries = await trim.entries()
    assert await trim.trim(entries[-2], limit=100) == "more"
    left = await trim.entries()
    assert left[2] in entries[:-2], "entries before the cut are there yet"
    await trim.assert_kept(left[2])
    assert await trim.trim(entries[-2]) in ("more", "ok"), "the same cut can be recorded again"


async def add_entries(trim: Trim, count: int) -> None:
    """Add entries that can leave."""
    partition = trim.setup.store._partitions[trim.number]
    async with client_of(trim.setup.store).pipeline(transaction=False) as pipeline:
        for _ in range(count):
            pipeline.xadd(partition.keys.journal, {"user.unlocked": "alice"})
        await pipeline.execute()
    await trim.archive((await trim.entries())[-1])
    await relay_journals(trim.setup.store)


async def test_nothing_is_written_while_no_entry_can_leave(trim: Trim) -> None:
    trim.keep_ms = KEEP_MS
    before = await dump(trim.setup.store)
    assert (await trim.claim()).code == "nothing"
    assert await dump(trim.setup.store) == before
    assert (await trim.claim(is_wanted=True)).code == "ok"
    assert await dump(trim.setup.store) != before


async def test_entries_leave_in_bounded_steps(trim: Trim) -> None:
    setup, limit = trim.setup, 200
    await add_entries(trim, 1_000)
    entries = await trim.entries()
    claim, steps, left = (await trim.claim()).token, [], [len(entries)]
    while (code := await trim.trim(entries[-2], claim, limit)) == "more":
        steps.append(code)
        left.append(len(await trim.entries()))
        assert 0 < left[-2] - left[-1] <= limit
        assert left[-1] == 0 or (await setup.store._partitions[trim.number].read_trimmed()) is not None
    assert code == "ok"
    assert len(steps) >= 4
    assert left[-1] - 2 <= limit, "what is left of the last node leaves at once"
    assert await trim.entries() == entries[-2:]


async def test_an_entry_that_was_trimmed_is_no_loss(trim: Trim) -> None:
    setup, entries = trim.setup, await trim.entries()
    cut = entries[3]
    assert await trim.trim(cut) == "ok"
    incarnation = (await setup.store.read_meta())["incarnation"]
    partition = setup.store._partitions[trim.number]
    before = await dump(setup.store)
    for entry_id in (*entries[:4], "1-0"):
        assert (await partition.run(RecordLoss(incarnation, entry_id))).code == "kept"
    assert await dump(setup.store) == before
    at = Position.of(cut)
    assert (await partition.run(RecordLoss(incarnation, f"{at.at_ms}-{at.number + 7}"))).code == "ok"
