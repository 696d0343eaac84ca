"""A migration is killed between any two of its calls, and beside an engine of the earlier version."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from support.fixtures.at_rest import open_client
from support.fixtures.dumps import dump_keys
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for
from support.fixtures.old_store import FAR_MS, load_old_store
from support.processes.crash_client import Memory
from support.processes.killable_ports import Point
from support.processes.preforked import Preforked, running_preforked

from technopay.engine import Engine, StoreUnavailable
from technopay.storage import RedisStore
from technopay.storage.commands import BeginMigration
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import SCHEMA

LOOK_S, REPLY_S = 0.1, 0.5
CLOSES_S_MAX = 2 * LOOK_S + REPLY_S + 1.0
WRITES = ("begin_migration", "advance_migration", "migrate_references", "migrate_payments", "migrate_limits")
"""The store does not change between two of these: a kill behind each is enough."""
ALARM_S = 60.0
numbers = itertools.count()


@dataclass
class Migrations:
    """Stores of an earlier schema on one server, each in a namespace of its own."""

    url: str
    client: Any
    preforked: Preforked
    folder: Path

    async def load(self, schema: str) -> str:
        namespace = f"migrated{next(numbers)}"
        await load_old_store(self.client, namespace, schema)
        return namespace

    async def run(
        self, namespace: str, point: Point | None = None, *, looks_s: float = 0.0, reply_s: float = 5.0
    ) -> tuple[int, Sequence[Point]]:
        """Migrate in a process that is killed at a point; return its status and its points."""
        log = self.folder / f"{namespace}-{next(numbers)}"
        log.touch()
        await self.preforked.raise_child(
            url=self.url, namespace=namespace, point=point, looks_s=looks_s, reply_s=reply_s,
            log=str(log), output=f"{log}.log", alarm_s=ALARM_S,
        )  # fmt: skip
        status = await self.preforked.wait_for_end()
        return status, Memory(log).points

    async def read(self, namespace: str) -> dict[str, Any]:
        """Read every key except the incarnation, which always differs."""
        found = await dump_keys(self.client, Keys(namespace))
        del found["meta"]["incarnation"]
        return {key: json.loads(each) if isinstance(each, str) else each for key, each in found.items()}

    async def audit(self, namespace: str) -> Sequence[Any]:
        async with RedisStore.connect(self.url, namespace=namespace) as store:
            return (await store.audit()).differences


@pytest.fixture
async def migrations(server_url: str, tmp_path: Path) -> AsyncIterator[Migrations]:
    async with running_preforked("migrate") as preforked, open_client(server_url) as client:
        yield Migrations(server_url, client, preforked, tmp_path)
        await client.flushdb()


def advances(points: Sequence[Point]) -> int:
    return sum(point.name == "after advance_migration" for point in points)


@pytest.mark.parametrize("server_url", ["valkey"], indirect=True)
@pytest.mark.parametrize(
    ("schema", "unused", "differences"), [("4", set[str](), 1), ("5", {"migrate_references"}, 0)]
)
@pytest.mark.timeout(180)
async def test_a_migration_that_is_killed_anywhere_goes_on_from_where_it_was(
    migrations: Migrations, schema: str, unused: set[str], differences: int
) -> None:
    undisturbed = await migrations.load(schema)
    _, points = await migrations.run(undisturbed)
    wanted = await migrations.read(undisturbed)
    assert wanted["meta"]["schema"] == SCHEMA
    assert len(await migrations.audit(undisturbed)) == differences
    deadly = [point for point in points if point.name in {f"after {name}" for name in WRITES}]
    assert {point.name.removeprefix("after ") for point in deadly} == set(WRITES) - unused

    for point in [Point("before begin_migration", 1), *deadly]:
        namespace = await migrations.load(schema)
        status, before = await migrations.run(namespace, point)
        assert (status, before[-1]) == (-SIGKILL, point)
        status, after = await migrations.run(namespace)
        assert status == 0
        assert advances(before) + advances(after) == advances(points), f"{point}: a step began anew"
        assert await migrations.read(namespace) == wanted, point


class EarlierEngine:
    """An engine of schema 5 as the store sees it: it starts payments until the incarnation changes."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._client = client
        self._tag = f"{{{namespace}:00}}"
        self.started: list[str] = []

    async def work(self) -> None:
        incarnation = await self._client.hget(f"{self._tag}:meta", "incarnation")
        loop = asyncio.get_running_loop()
        while await self._client.hget(f"{self._tag}:meta", "incarnation") == incarnation:
            look_at = loop.time() + LOOK_S
            while loop.time() < look_at:
                await self._start_payment(len(self.started))
                await asyncio.sleep(0.01)

    async def _start_payment(self, number: int) -> None:
        tag, invoice, payment = self._tag, f"inv_00earlier{number}", f"pay_00earlier{number}"
        [wallet] = [
            key.partition(":wallet:")[2]
            async for key in self._client.scan_iter(match=f"{tag}:wallet:*", count=1_000)
            if await self._client.hmget(key, "user", "currency") == ["bob", "EUR"]
        ]
        terms = {"user": "bob", "amount": "100", "currency": "EUR", "merchant": "bookshop"}
        async with self._client.pipeline(transaction=True) as script:
            script.xadd(f"{tag}:journal", {"invoice.created": invoice, **terms})
            script.hset(
                f"{tag}:invoice:{invoice}",
                mapping=terms | {"status": "open", "payment": payment, "created_at": "1", "expires_at": FAR_MS},
            )
            script.zadd(f"{tag}:invoices:bob", {invoice: 0})
            script.xadd(f"{tag}:journal", {"payment.started": payment, "issue": "1"})
            script.zadd(f"{tag}:payments:bob", {payment: 0})
            script.zadd(f"{tag}:agenda", {payment: FAR_MS})
            *_, started, _, _ = await script.execute()
            await self._client.hset(
                f"{tag}:payment:{payment}",
                mapping=terms | {
                    "wallet": wallet, "invoice": invoice, "status": "requires_confirmation",
                    "created_at": started.partition("-")[0], "limit": "2026-01-01 1000000 5 1767312000000",
                    "challenge": f"sms 1 5 3 {FAR_MS} {FAR_MS} ",
                },
            )  # fmt: skip
        self.started.append(payment)


@pytest.mark.timeout(120)
async def test_an_engine_of_the_earlier_version_that_works_until_its_next_look_loses_nothing(
    migrations: Migrations,
) -> None:
    namespace = await migrations.load("5")
    engine = EarlierEngine(migrations.client, namespace)
    working = asyncio.create_task(engine.work())
    await asyncio.sleep(LOOK_S)
    run = partial(migrations.run, namespace, looks_s=2 * LOOK_S, reply_s=REPLY_S)
    status, _ = await run(Point("after begin_migration", 1))
    assert status == -SIGKILL
    status, _ = await run()
    assert status == 0
    assert working.done()
    await working
    assert len(engine.started) > 1
    assert await migrations.audit(namespace) == []
    found = await migrations.read(namespace)
    for payment in engine.started:
        assert (found[f"payment:{payment}"]["version"], found[f"code:{payment}"]["attempts"]) == ("1", "5")


@pytest.mark.timeout(60)
async def test_an_engine_closes_when_a_migration_begins_and_stays_closed(
    server_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine stands for one of the earlier schema: the next schema does not exist yet."""
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", LOOK_S)
    connect = partial(RedisStore.connect, server_url, namespace=namespace, reply_timeout_s=REPLY_S)
    meta, journal = Keys(namespace).key("meta"), Keys(namespace).journal
    async with (
        connect(initialise=True) as store,
        Engine(store, quick_settings()) as engine,
        connect() as migrating,
        open_client(server_url) as client,
    ):
        setup = await make_setup(engine, store)

        async def is_refused(reason: str) -> bool:
            before = await client.xlen(journal)
            try:
                await setup.invoice()
            except StoreUnavailable as error:
                assert await client.xlen(journal) == before
                return reason in str(error)
            return False

        await migrating.run(BeginMigration(SCHEMA, "another"))
        await wait_for(lambda: is_refused("being migrated"), within_s=CLOSES_S_MAX)
        await client.hset(meta, mapping={"schema": SCHEMA})
        await wait_for(lambda: is_refused("another one"), within_s=CLOSES_S_MAX)
        await client.hdel(meta, "migration_position", "migrated_from")


async def test_scripts_of_other_versions_are_removed_when_a_store_is_opened(
    server_url: str, namespace: str
) -> None:
    earlier = "#!lua name=technopay_earlier\nredis.register_function('technopay_earlier', function() end)"
    async with open_client(server_url) as client:
        await client.function_load(earlier)
        async with RedisStore.connect(server_url, initialise=True, namespace=namespace):
            found: Any = await client.function_list("technopay_*")
    names = [dict(zip(library[::2], library[1::2], strict=True))["library_name"] for library in found]
    assert "technopay_earlier" not in names
    assert names, "ours is there"
