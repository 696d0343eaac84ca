"""Disks: after a torn file or a full disk, no acknowledged write is lost."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from support.fixtures.audit import assert_books_balance
from support.fixtures.dumps import Dump, dump, dump_keys
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.gated import is_ready
from support.fixtures.store_setup import Setup as StoreSetup
from support.servers.real_servers import OwnServer, own_server
from support.servers.small_disk import SmallDisk, small_disk

from technopay.engine import Engine, OutcomeUnknown, Overloaded, StoreUnavailable, Wallet
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys

CUTS = 120
DEADLINE_S = 1.0
FAULTS = {StoreUnavailable, OutcomeUnknown, Overloaded}


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk() as disk:
        yield disk


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the retries."""
    monkeypatch.setattr("technopay.storage.partition.RETRY_S_MAX", DEADLINE_S)
    monkeypatch.setattr("technopay.engine.actors.actor.RESEND_S_MAX", DEADLINE_S)


async def seen_in(server: OwnServer) -> Dump:
    """Read all keys of a server."""
    async with Redis.from_url(server.url, decode_responses=True) as client:
        return await dump_keys(client, Keys())


async def test_a_payment_in_a_file_that_was_torn_anywhere_is_as_before_or_as_after(
    server: OwnServer, kind: str
) -> None:
    async with RedisStore.connect(server.url, initialise=True) as store:
        setup = StoreSetup(store)
        await setup.user("alice")
        payment = await setup.started(await setup.wallet(), await setup.invoice())
        before, length_before = await dump(store), server.appended.stat().st_size
        assert (await setup.confirm(payment)).code == "ok"
        after, length = await dump(store), server.appended.stat().st_size
    await assert_books_balance(server.url, "tp")
    whole = server.keep() / server.appended.name
    assert length - length_before > CUTS, "all cuts are within the last script"

    # The embedded server is torn at every byte of its end. In the rest, a step that shares no factor with the
    # lengths of lines reaches every kind of place.
    step = 1 if kind == "valkey" else 7
    cuts = [*range(0, CUTS + 1, step), *range(CUTS, length - length_before + 1, 97), length - length_before]
    for cut in cuts:
        server.end()
        shutil.copyfile(whole, server.appended)
        os.truncate(server.appended, length - cut)
        server.start()
        assert await seen_in(server) == (before if cut else after), f"{cut} bytes cut off"
    async with RedisStore.connect(server.url) as store:
        await store.ping()
    await assert_books_balance(server.url, "tp")


class Till:
    """Deposits into one wallet, each under its own key, and counts the acknowledged deposits."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.keys: list[str] = []
        self.acknowledged = 0
        self.faults: list[Exception] = []

    async def deposit(self, count: int) -> None:
        """Make new deposits of one cent, all at once; each completes in bounded time."""
        keys = [f"deposit {len(self.keys) + number}" for number in range(count)]
        self.keys += keys
        async with asyncio.timeout(10):
            results = await asyncio.gather(*map(self._deposit, keys), return_exceptions=True)
        for result in results:
            assert isinstance(result, Wallet) or type(result) in FAULTS, repr(result)
            self.acknowledged += isinstance(result, Wallet)
            if isinstance(result, Exception):
                self.faults.append(result)

    async def _deposit(self, key: str) -> Wallet:
        return await self.setup.engine.deposit(wallet_id=self.setup.wallet_id, amount=1, idempotency_key=key)

    async def assert_nothing_was_lost(self, url: str, before: int) -> None:
        """Check that all acknowledged deposits exist; after a retry of each, each exists once."""
        await wait_for(lambda: is_ready(self.setup.engine))
        unknown = sum(isinstance(fault, OutcomeUnknown) for fault in self.faults)
        balance = await self.setup.balance()
        assert before + self.acknowledged <= balance <= before + self.acknowledged + unknown
        for first in range(0, len(self.keys), 200):
            await asyncio.gather(*map(self._deposit, self.keys[first : first + 200]))
        assert await self.setup.balance() == before + len(self.keys)
        await assert_books_balance(url, "tp")


@asynccontextmanager
async def running_till(store: RedisStore) -> AsyncIterator[Till]:
    async with store, Engine(store, quick_settings(command_deadline_s=DEADLINE_S)) as engine:
        yield Till(await make_setup(engine, store))


async def deposit_until_it_is_full(till: Till, disk: SmallDisk) -> None:
    disk.fill(but=40_000)
    while len(till.faults) < 40:
        await till.deposit(20)
        assert len(till.keys) < 5_000, "the disk does not get full"
    assert till.acknowledged > 0


async def test_a_server_on_a_full_disk_ends_and_has_all_acknowledged_deposits_once_there_is_room(
    kind: str, disk: SmallDisk, impatient: None
) -> None:
    with own_server(kind, disk.folder) as server:
        async with running_till(RedisStore.connect(server.url, initialise=True)) as till:
            before = await till.setup.balance()
            await deposit_until_it_is_full(till, disk)
            assert await asyncio.to_thread(server.wait_until_ended) == 1
            assert not await is_ready(till.setup.engine)
            disk.make_room()
            server.start()
            await till.assert_nothing_was_lost(server.url, before)


async def test_the_embedded_store_on_a_full_disk_refuses_and_goes_on_by_itself_once_there_is_room(
    disk: SmallDisk, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore.embedded(disk.folder / "data")
    async with running_till(store) as till:
        before = await till.setup.balance()
        await deposit_until_it_is_full(till, disk)
        assert "the embedded store is started again: it ended with status 1" in caplog.text
        disk.make_room()
        assert store._url is not None
        await till.assert_nothing_was_lost(store._url, before)
        paid = await till.setup.pay(await till.setup.invoice(amount=1))
        assert paid.status == "succeeded"
