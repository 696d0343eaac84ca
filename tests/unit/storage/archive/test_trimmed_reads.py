"""The same reads return the same, whether the entries that they need are in the store or left it."""

import pytest
from support.fixtures.all_reads import entries_of, list_all, searches, statement_of
from support.fixtures.store_setup import Setup
from support.fixtures.trimmed_reads import assert_same_reads, make_halves
from support.fixtures.trimming import Trimming, new_trimming

from technopay.storage import Archive, RedisStore

pytestmark = pytest.mark.any_partition


async def test_reads_return_the_same_before_and_after_entries_left_the_store(trimming: Trimming) -> None:
    await trimming.setup.user("carol")
    await assert_same_reads(trimming, ("alice", "carol"), 3)


async def test_reads_return_the_same_from_both_databases(
    archive_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisStore.fake() as store, Archive.at(archive_location) as archive:
        await (setup := Setup(store)).user("alice")
        await assert_same_reads(await new_trimming(setup, archive, monkeypatch), ("alice",), 7)
        for full in (False, True):
            assert (await store.audit(full=full)).clean


async def test_lists_that_began_before_entries_left_the_store_go_on_in_its_archive(trimming: Trimming) -> None:
    setup, limit = trimming.setup, 2
    middle_ms = await make_halves(trimming, ("alice",))
    begun = {}
    for name, make in searches(middle_ms).items():
        first = await setup.done(make("", limit))
        begun[name] = (first, await list_all(setup, make, limit))
    wallet = begun["wallets"][0].data[-1].id
    entries, statement = (
        await entries_of(setup, wallet, limit),
        await statement_of(setup, wallet, None, None, limit),
    )
    ends = [await setup.store.read_end(number) for number in setup.store.partitions]
    await trimming.trimmer.run()
    await trimming.trim()
    assert ends == [await setup.store.read_end(number) for number in setup.store.partitions]
    for name, make in searches(middle_ms).items():
        first, whole = begun[name]
        rest = await list_all(setup, make, limit, first.next_cursor) if first.next_cursor else []
        assert [*first.data, *rest] == whole, name
    for page in (0, 1):
        cursor = entries[page].next_cursor or ""
        assert await entries_of(setup, wallet, limit, cursor) == entries[page + 1 :]
        cursor = statement[page].next_cursor or ""
        assert await statement_of(setup, wallet, None, None, limit, cursor) == statement[page + 1 :]
