"""The store as a whole: opening, closing, namespaces, and its statistics."""

import json
import re
import sys
from collections.abc import Callable

import pytest
from support.fixtures import store_commands, webhook_calls
from support.fixtures.dumps import dump
from support.fixtures.partition_calls import DIGEST, SLICE, TOTALS
from support.fixtures.relaying import relay
from support.fixtures.store_commands import mock_inbox, mock_settlement, set_aside
from support.fixtures.store_setup import FAR, Setup, client_of, new_invoice, operation

from technopay.engine import StoreUnfit
from technopay.engine.commands import AnnounceEngine, BindSecret, ChangeBalance
from technopay.engine.ports import Store
from technopay.engine.reads import ReadUser
from technopay.storage import RedisStore
from technopay.storage.archive.commands import ClaimArchive, SettleReferences
from technopay.storage.commands import MarkDemo, ReportSlices, SliceReport, WriteTick
from technopay.storage.redis_keys import KINDS, Keys
from technopay.storage.schema import SCHEMA

pytestmark = pytest.mark.any_partition


async def test_a_store_says_what_it_is(store: RedisStore) -> None:
    meta = await store.read_meta()
    assert {name: meta[name] for name in ("schema", "partitions", "timezone")} == {
        "schema": SCHEMA, "partitions": str(len(store.partitions)), "timezone": "UTC",
    }  # fmt: skip
    assert len(meta["incarnation"]) == 16
    assert int(meta["created_at"]) > 0


async def test_without_its_library_a_fake_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    with pytest.raises(StoreUnfit, match=r"pip install 'technopay\[testing\]'$"):
        await RedisStore.fake().open()


async def test_a_store_on_a_server_is_the_same_for_all_and_a_fake_is_always_a_new_one(
    make_store: Callable[[], RedisStore],
) -> None:
    async with make_store() as one, make_store() as other:
        await Setup(one).user("alice")
        is_fake = one._url is None
        assert (await other.run(ReadUser("alice"))).code == ("user_not_found" if is_fake else "ok")
        same = (await one.read_meta())["incarnation"] == (await other.read_meta())["incarnation"]
        assert same != is_fake


async def test_namespaces_keep_stores_apart(server_url: str, namespace: str) -> None:
    async with (
        RedisStore.connect(server_url, initialise=True, namespace=namespace) as one,
        RedisStore.connect(server_url, initialise=True, namespace=f"{namespace}b") as other,
    ):
        await Setup(one).user("alice")
        assert (await other.run(ReadUser("alice"))).code == "user_not_found"
        assert set(await dump(other)) == {"meta"}


async def test_a_store_is_tied_to_the_secret_that_is_used_first(store: RedisStore) -> None:
    for key_ids, code in (
        (["aaaaaaaa"], "ok"),
        (["bbbbbbbb"], "foreign"),
        (["aaaaaaaa", "bbbbbbbb"], "ok"),
        (["bbbbbbbb"], "ok"),
        (["bbbbbbbb", "cccccccc"], "ok"),
        (["dddddddd"], "foreign"),
    ):
        bound = await store.run(BindSecret(key_ids))
        assert (bound.code, bound.value) == (code, "aaaaaaaa"), key_ids


async def test_demo_data_is_added_once_and_again_after_a_run_that_was_cut_off(store: RedisStore) -> None:
    assert await store.mark_demo()
    before = await dump(store)
    assert await store.mark_demo()
    assert await dump(store) == before
    await store.mark_seeded()
    before = await dump(store)
    assert not await store.mark_demo()
    await store.mark_seeded()
    assert await dump(store) == before


async def test_a_demo_of_an_earlier_version_is_one_still_and_has_its_data(store: RedisStore) -> None:
    await store.run(MarkDemo("0123456789abcdef"))  # a claimant
    await Setup(store).user("alice")
    before = await dump(store)

    assert not await store.mark_demo()
    assert await dump(store) == before


async def test_a_store_in_use_becomes_no_demos_and_nothing_is_written(store: RedisStore) -> None:
    await Setup(store).user("alice")
    before = await dump(store)

    with pytest.raises(StoreUnfit, match="in use and was not made by --demo"):
        await store.mark_demo()

    assert await dump(store) == before


async def test_a_store_is_opened_and_closed_more_than_once(make_store: Callable[[], RedisStore]) -> None:
    store = make_store()
    await store.aclose()
    for _ in range(2):
        async with store:
            await store.ping()
        await store.aclose()


async def test_every_key_is_of_a_kind_that_is_listed_and_every_kind_is_met(setup: Setup) -> None:
    own = store_commands.partition(setup.store)
    if own:  # otherwise some records would be in the first partition only
        await setup.store._partitions[own].run(webhook_calls.saving())
    await webhook_calls.save(setup)
    wallet = await setup.wallet()
    await setup.run(ChangeBalance(operation(), wallet, 1, reference="line 1"))
    payment, claim = await setup.processing(wallet)
    await set_aside(setup.store, payment, claim, 60_000)
    await setup.started(wallet, await setup.invoice())
    await setup.run(new_invoice("alice", 1, "EUR", FAR, reference="R-1"))
    await relay(setup, "it bounced")
    await setup.set_limit("EUR", 5)
    await mock_settlement(setup.store, "settle", payment, 0)
    await mock_inbox(setup.store, "alice", "{}")
    delivered, dead, *waiting = (await webhook_calls.take(setup)).deliveries
    assert waiting
    await webhook_calls.record(setup, delivered)
    await webhook_calls.record(setup, dead, "dead")
    await setup.store._partitions[own].run(WriteTick())
    await setup.store._partitions[own].run(AnnounceEngine("eng_1", stays=True))
    await setup.store._partitions[own].run(ClaimArchive(own, "an archiver", "0-0"))
    await setup.store._partitions[own].run(SettleReferences(["inv_00gone", "4:ShopR-2", DIGEST, "1"]))
    await setup.store._partitions[own].run(ReportSlices(SLICE, "0", [SliceReport("00", *TOTALS)]))
    types = {}
    for name in [name for name in await dump(setup.store) if not name[0].isdigit()]:
        (kind,) = (kind for kind in KINDS if name == kind or name.startswith(f"{kind}:"))
        types[kind] = await client_of(setup.store).type(f"{setup.keys.key('meta').removesuffix('meta')}{name}")
    assert types == {kind: re.split("[ :]", said)[0] for kind, said in KINDS.items()}


def test_all_keys_of_a_partition_lie_in_one_slot() -> None:
    keys = Keys("tp")
    assert keys.journal == "{tp:00}:journal"
    assert keys.key("wallet", "wal_1") == "{tp:00}:wallet:wal_1"
    with pytest.raises(AssertionError):
        keys.key("unheard_of")


def test_the_store_keeps_the_engines_port() -> None:
    wanted = {name for name in vars(Store) if not name.startswith("_")}
    assert wanted <= set(dir(RedisStore))
    port: type[Store] = RedisStore
    assert port is RedisStore


async def test_live_codes_are_counted_by_the_key_that_they_are_derived_from(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(store)
    await setup.user("alice")
    wallet = await setup.wallet()
    await store.run(BindSecret(["aaaaaaaa"]))
    ids = [await setup.started(wallet, await setup.invoice()) for _ in range(7)]
    for payment_id, key_id in zip(ids[:4], ("bbbbbbbb", "bbbbbbbb", "", "cccccccc"), strict=True):
        await setup.write_code(payment_id, key=key_id or None)
    await setup.write_code(ids[4], key="cccccccc", expires_at=1)
    kept = await setup.code(ids[5])
    await client_of(store).set(setup.keys.key("code", ids[5]), "rubbish")
    await setup.cancel(ids[6])

    expected = {"aaaaaaaa": 1, "bbbbbbbb": 2, "cccccccc": 1}
    assert await store.count_live_codes() == (expected, True)
    monkeypatch.setattr("technopay.storage.opening.CODES_BATCH", 2)
    assert await store.count_live_codes() == (expected, True)
    monkeypatch.setattr("technopay.storage.opening.CODES_READ_MAX", 2)
    counts, is_all = await store.count_live_codes()
    assert not is_all
    assert counts.total() <= 2
    await client_of(store).set(setup.keys.key("code", ids[5]), json.dumps(kept))
