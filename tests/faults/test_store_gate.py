"""The gate: a store that becomes unfit in use is closed until it is fit again."""

import asyncio
import logging
import re
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.gated import CLOSED_WITHIN_S, GatedWorld
from support.fixtures.http_api import running_api
from support.fixtures.store_setup import operation
from support.servers.real_servers import OwnServer

from technopay.engine import StoreUnavailable, StoreUnfit
from technopay.engine.commands import SetLimit
from technopay.storage import RedisStore, initialise_store
from technopay.storage.schema import SCHEMA
from technopay.storage.server.client import ServerClient
from technopay.storage.store import CHECK_INTERVAL_S

META = "{tp:00}:meta"
JOURNAL = "{tp:00}:journal"

Words = tuple[str, ...]


@pytest.mark.parametrize(
    ("spoil", "words", "put_right"),
    [
        (
            ("CONFIG", "SET", "appendfsync", "everysec"), "appendfsync is everysec, not always",
            ("CONFIG", "SET", "appendfsync", "always"),
        ),
        (
            ("CONFIG", "SET", "appendonly", "no"), "appendonly is no, not yes",
            ("CONFIG", "SET", "appendonly", "yes"),
        ),
        (
            ("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"), "not durable during rewrites",
            ("CONFIG", "SET", "no-appendfsync-on-rewrite", "no"),
        ),
        (
            ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "maxmemory-policy is allkeys-lru",
            ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
        ),
        (("CONFIG", "SET", "maxmemory", "1000000"), "the store is full", ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), "is a replica", ("REPLICAOF", "NO", "ONE")),
        (("HSET", META, "schema", "0"), "has schema 0", ("HSET", META, "schema", SCHEMA)),
        (("RENAME", META, "{tp:00}:away"), "is empty", ("RENAME", "{tp:00}:away", META)),
    ],
)  # fmt: skip
async def test_a_store_that_becomes_unfit_while_it_is_used_is_closed_until_it_is_put_right(
    world: GatedWorld,
    spoil: Words,
    words: str,
    put_right: Words,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "technopay.storage")
    payment = await world.setup.start()
    # The engine's remaining work on this payment ends before the comparison.
    await world.setup.right_code(payment)
    await wait_for_relay(world)
    world.server.say(*spoil)
    await world.wait_until_closed(words)
    await world.assert_nothing_moves(payment)
    for _ in range(3):
        with pytest.raises(StoreUnfit, match=words):
            await link_of(world).check()
    assert said(caplog, logging.ERROR) == [f"the store must not be used any more: {await reason_of(world)}"]

    world.server.say(*put_right)
    await world.assert_goes_on(payment)
    assert len(said(caplog, logging.ERROR)) == 1
    assert said(caplog, logging.WARNING)[0].startswith("the store may be used again after ")


async def wait_for_relay(world: GatedWorld) -> None:
    """Wait until all messages of the journal so far are delivered."""

    async def look() -> bool:
        last = world.server.say("XREVRANGE", JOURNAL, "+", "-", "COUNT", 1)
        return bool(world.server.say("HGET", "{tp:00}:relay", "cursor") == last[0][0])

    await wait_for(look)


def link_of(world: GatedWorld) -> ServerClient:
    link = world.store._partition.client
    assert isinstance(link, ServerClient)
    return link


async def reason_of(world: GatedWorld) -> str:
    with pytest.raises(StoreUnavailable) as refused:
        await world.engine.check()
    assert isinstance(refused.value.__cause__, StoreUnfit)
    return str(refused.value.__cause__)


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return the gate's log lines of a level; the server may have refused a call before the gate closed."""
    return [
        record.message
        for record in caplog.records
        if record.name == "technopay.storage.server.client"
        and record.levelno == level
        and re.match("the store (must not|may) be used", record.message)
    ]


@pytest.mark.parametrize("kind", ["valkey"])
async def test_readyz_says_that_the_store_is_unfit_within_three_seconds_and_when_it_is_fit_again(
    server: OwnServer,
) -> None:
    assert CHECK_INTERVAL_S < CLOSED_WITHIN_S
    async with (
        RedisStore.connect(server.url, initialise=True) as store,
        running_api(store) as api,
    ):

        async def answers(status: int) -> bool:
            return (await api.client.get("/readyz")).status == status

        assert await answers(200)
        for setting, status in (("no", 503), ("always", 200)):
            server.say("CONFIG", "SET", "appendfsync", setting)
            await wait_for(partial(answers, status), within_s=CLOSED_WITHIN_S)


async def test_an_embedded_store_whose_directory_was_deleted_takes_nothing_more(
    quick_look: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    async with RedisStore.embedded(folder) as store, running_api(store) as api:
        url = store.url
        assert url is not None
        # Workers have the address of the store only.
        async with RedisStore.connect(url) as of_worker:
            shutil.rmtree(folder)

            async def is_closed() -> bool:
                return (await api.client.get("/readyz")).status == 503 and await is_refused(of_worker)

            await wait_for(is_closed, within_s=CLOSED_WITHIN_S)
            with pytest.raises(StoreUnavailable, match="file of the store was deleted"):
                await of_worker.run(SetLimit(operation(), "EUR", 1))
            assert len(said(caplog, logging.ERROR)) == 2, "one line each"


async def test_a_store_whose_file_was_deleted_is_closed_until_it_writes_another(world: GatedWorld) -> None:
    payment = await world.setup.start()
    await world.setup.right_code(payment)
    await wait_for_relay(world)
    folder = world.server.appended.parent
    shutil.rmtree(folder)
    await world.wait_until_closed("file of the store was deleted")
    await world.assert_nothing_moves(payment)

    folder.mkdir()
    world.server.say("BGREWRITEAOF")
    await world.assert_goes_on(payment)


async def test_a_store_that_rewrites_its_file_stays_open(world: GatedWorld) -> None:
    link, ended = link_of(world), asyncio.Event()

    async def is_rewritten() -> bool:
        return not world.server.say("INFO", "persistence")["aof_rewrite_in_progress"]

    async def rewrite() -> None:
        for _ in range(15):
            world.server.say("BGREWRITEAOF")
            await world.engine.deposit(wallet_id=world.setup.wallet_id, amount=1)
            await wait_for(is_rewritten)
        ended.set()

    rewriting = asyncio.create_task(rewrite())
    while not ended.is_set():
        await link.check()
    await rewriting


async def is_refused(store: RedisStore) -> bool:
    try:
        await store.ping()
    except StoreUnavailable:
        return True
    return False


async def flush(server: OwnServer) -> None:
    server.say("FLUSHALL")


async def begin_anew(server: OwnServer) -> None:
    server.bring_back(None)


async def replace(server: OwnServer) -> None:
    server.bring_back(None)
    await initialise_store(server.url, timezone="UTC", durability="always")


@pytest.mark.parametrize(
    ("lose_data", "words", "keys"),
    [
        (flush, "is empty: it lost its data; restore it", 0),
        (begin_anew, "is empty", 0),
        (replace, "was replaced by another one", 1),
    ],
)
async def test_a_store_that_lost_its_data_is_closed_until_they_are_restored(
    world: GatedWorld, lose_data: Callable[[OwnServer], Awaitable[None]], words: str, keys: int
) -> None:
    payment = await world.setup.start()
    await wait_for_relay(world)
    kept = world.server.keep()
    await lose_data(world.server)
    await world.wait_until_closed(words)
    await world.assert_nothing_moves(payment)
    assert world.server.say("DBSIZE") == keys, "nothing grows in the wrong store"

    world.server.bring_back(kept)
    await world.assert_goes_on(payment)


@pytest.mark.parametrize("quick_look", [3600.0], indirect=True)
async def test_not_one_call_leaves_for_a_store_that_came_back_empty(world: GatedWorld) -> None:
    """Calls that wait for the connection are refused, too: they could create a user in an empty store."""
    await world.bring_back(None)
    calls = [world.engine.create_user(user_id=f"bob{n}", email="bob@example.com") for n in range(3)]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, StoreUnavailable)
        assert "is empty" in str(result)
    assert world.server.say("DBSIZE") == 0


async def test_a_store_that_comes_back_older_is_closed_even_when_others_go_on_with_it(
    world: GatedWorld,
) -> None:
    await world.setup.pay()
    await wait_for_relay(world)
    older = world.server.keep()
    lost = await world.setup.pay()
    payment = await world.setup.start()
    await wait_for_relay(world)
    newest = world.server.keep()

    world.server.bring_back(older)
    await world.wait_until_closed("lost data: entry")
    await world.assert_nothing_moves(payment)

    # No other process uses it, either.
    other = RedisStore.connect(world.server.url)
    with pytest.raises(StoreUnfit, match="lost data: entry"):
        await other.open()

    # One that does all the same makes its journal longer than ever before.
    other.tolerates_loss = True
    async with other:
        for _ in range(20):
            await other.run(SetLimit(operation(), "EUR", None))
            await other.run(SetLimit(operation(), "EUR", 10**9))
    await world.wait_until_closed("lost data: entry")
    await world.assert_nothing_moves(payment)

    world.server.bring_back(newest)
    await world.assert_goes_on(payment)
    assert (await world.engine.find_payment(payment_id=lost.id)).status == "succeeded"


@pytest.mark.parametrize("quick_look", [3600.0], indirect=True)
async def test_what_the_relay_read_has_to_be_there_when_the_store_comes_back(world: GatedWorld) -> None:
    """Between two checks, the relay has the latest position of the journal."""
    older = world.server.keep()
    payment = await world.setup.start()
    await wait_for_relay(world)
    newest = world.server.keep()

    world.server.bring_back(older)
    await world.wait_until_closed("lost data: entry")
    await world.assert_nothing_moves(payment)
    await world.bring_back(newest)
    await link_of(world).check()
    await world.assert_goes_on(payment)


async def test_an_unfit_store_that_goes_away_and_comes_back_fit_is_used_again(world: GatedWorld) -> None:
    world.server.say("CONFIG", "SET", "appendfsync", "everysec")
    await world.wait_until_closed("appendfsync is everysec")
    world.server.end()
    assert not await world.is_ready()
    # It starts with its old settings.
    world.server.start()
    await world.assert_goes_on()


async def test_closing_is_clean_while_the_gate_is_closed_and_while_the_store_is_gone(
    server: OwnServer, quick_look: None
) -> None:
    for spoil in (lambda: server.say("CONFIG", "SET", "appendfsync", "no"), server.end):
        store = RedisStore.connect(server.url, initialise=True)
        await store.open()
        spoil()

        await wait_for(partial(is_refused, store))
        assert "store watch" in running_tasks()
        await store.aclose()
        await store.aclose()
        assert "store watch" not in running_tasks()
        server.end()
        server.start()


def running_tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}
