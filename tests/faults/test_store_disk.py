"""Disks and crashes: a torn file, a full disk, a server that dies again and again lose nothing acknowledged."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.store_setup import Dump, dump, dump_keys
from support.fixtures.store_setup import Setup as StoreSetup
from support.servers.own_server import OwnServer, own_server
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
    """Do not ask again for long."""
    monkeypatch.setattr("technopay.storage.partition.RETRY_S_MAX", DEADLINE_S)
    monkeypatch.setattr("technopay.engine.actors.actor.RESEND_S_MAX", DEADLINE_S)


async def seen_in(server: OwnServer) -> Dump:
    """Read all that a server has."""
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

    # The embedded server is torn at every byte of its end. A step that has nothing in common with the lengths
    # of lines meets every kind of place in the rest.
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
    """Puts money into one wallet, each time under its own key, and remembers what was acknowledged."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.keys: list[str] = []
        self.acknowledged = 0
        self.faults: list[Exception] = []

    async def deposit(self, count: int) -> None:
        """Make new deposits of one cent, all at once; each is answered in bounded time."""
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
        """All that was acknowledged is there; after another try of each, each is there once."""
        await wait_for(lambda: is_ready(self.setup.engine))
        unknown = sum(isinstance(fault, OutcomeUnknown) for fault in self.faults)
        balance = await self.setup.balance()
        assert before + self.acknowledged <= balance <= before + self.acknowledged + unknown
        for first in range(0, len(self.keys), 200):
            await asyncio.gather(*map(self._deposit, self.keys[first : first + 200]))
        assert await self.setup.balance() == before + len(self.keys)
        await assert_books_balance(url, "tp")


async def is_ready(engine: Engine) -> bool:
    try:
        await engine.check()
    except StoreUnavailable:
        return False
    return True


@asynccontextmanager
async def running_till(store: RedisStore) -> AsyncIterator[Till]:
    async with store, Engine(store, quick_settings(command_deadline_s=DEADLINE_S)) as engine:
        yield Till(await make_setup(engine, store))


async def test_a_server_on_a_full_disk_stops_and_what_was_acknowledged_is_there_when_it_has_room(
    kind: str, disk: SmallDisk, impatient: None
) -> None:
    with own_server(kind, disk.folder) as server:
        async with running_till(RedisStore.connect(server.url, initialise=True)) as till:
            before = await till.setup.balance()
            disk.fill(but=40_000)
            while not till.faults:
                await till.deposit(20)
                assert len(till.keys) < 5_000, "the disk does not get full"
            assert till.acknowledged > 0
            assert await asyncio.to_thread(server.wait_until_ended) == 1
            assert not await is_ready(till.setup.engine)
            disk.make_room()
            server.start()
            await till.assert_nothing_was_lost(server.url, before)


async def test_the_embedded_store_on_a_full_disk_refuses_and_goes_on_by_itself_when_it_has_room(
    disk: SmallDisk, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore.embedded(disk.folder / "data")
    async with running_till(store) as till:
        before = await till.setup.balance()
        disk.fill(but=40_000)
        while len(till.faults) < 40:
            await till.deposit(20)
            assert len(till.keys) < 5_000, "the disk does not get full"
        assert till.acknowledged > 0
        assert "the embedded store is started again: it ended with status 1" in caplog.text
        disk.make_room()
        assert store._url is not None
        await till.assert_nothing_was_lost(store._url, before)
        paid = await till.setup.pay(await till.setup.invoice(amount=1))
        assert paid.status == "succeeded"


async def test_an_embedded_store_that_is_killed_again_and_again_is_started_each_time(tmp_path: Path) -> None:
    store = RedisStore.embedded(tmp_path / "data")
    async with running_till(store) as till:
        before = await till.setup.balance()
        assert store._server is not None
        killed: set[int] = set()
        for _ in range(6):
            depositing: asyncio.Task[Any] = asyncio.create_task(till.deposit(20))
            await asyncio.sleep(0.003)
            pid = await wait_for(lambda: running_pid(store))
            assert pid is not None
            assert pid not in killed, "it is another one"
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
            await depositing
            await wait_for(lambda: is_ready(till.setup.engine))
        assert store._url is not None
        await till.assert_nothing_was_lost(store._url, before)


async def running_pid(store: RedisStore) -> int | None:
    assert store._server is not None
    return store._server.pid
