"""An archiver is killed at every step of its copying, and within transactions; the next one goes on."""

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from support.fixtures.archived_store import ArchivedStore
from support.fixtures.engine_setup import Setup, make_setup, quick_settings
from support.fixtures.store_setup import client_of
from support.processes.crash_client import Memory
from support.processes.killable_ports import Point
from support.processes.preforked import Preforked, running_preforked
from support.servers.raw_client import flush

from technopay.engine import Engine
from technopay.storage import RedisStore
from technopay.storage.archive.archive import Archive

ALARM_S = 60.0
PASSES = 2
"""Points that are passed more often are repeats of these."""
DELAYS_MS = (0, 0.2, 0.5, 1, 1.5, 2, 3, 5, 8, 12)
KILLS_MIN = 24
"""Of each kind of archive."""
numbers = itertools.count()


@dataclass
class Kills:
    """A store that goes on, and its archive, whose archivers are killed."""

    url: str
    namespace: str
    store: RedisStore
    setup: Setup
    location: str
    preforked: Preforked
    folder: Path
    payments: list[str] = field(default_factory=list)

    async def run(
        self, point: Point | None = None, after_ms: float | None = None
    ) -> tuple[int, Sequence[Point]]:
        """Make some entries, and archive in a process that is killed; return its status and its points."""
        await self.make_entries()
        log = self.folder / f"archiver{next(numbers)}"
        log.touch()
        await self.preforked.raise_child(
            url=self.url, namespace=self.namespace, location=self.location, point=point, after_ms=after_ms,
            log=str(log), output=f"{log}.log", alarm_s=ALARM_S,
        )  # fmt: skip
        status = await self.preforked.wait_for_end()
        assert status in (0, -SIGKILL), f"see {log}.log"
        await self.end_claim()
        return status, Memory(log).points

    async def make_entries(self) -> None:
        """Make entries of three batches, and refund an earlier payment: its record changes once more."""
        payment = await self.setup.pay(await self.setup.invoice(100))
        self.payments.append(payment.id)
        for _ in range(2):
            await self.setup.engine.deposit(wallet_id=self.setup.wallet_id, amount=200)
        await self.setup.start()
        if len(self.payments) > 1:
            await self.setup.engine.refund_payment(payment_id=self.payments[-2], amount=40)

    async def end_claim(self) -> None:
        """Do what time does to the claim of a process that is gone."""
        await client_of(self.store).hdel(
            self.store._partitions[0].keys.key("archive"), "owner", "claimed_until"
        )

    async def forget(self) -> None:
        """Let the store forget what was archived."""
        await client_of(self.store).delete(self.store._partitions[0].keys.key("archive"))


@pytest.fixture
async def kills(valkey_url: str, namespace: str, archive_location: str, tmp_path: Path) -> AsyncIterator[Kills]:
    store = RedisStore.connect(valkey_url, initialise=True, namespace=namespace)
    async with (
        store,
        Engine(store, quick_settings()) as engine,
        running_preforked("archive") as preforked,
    ):
        setup = await make_setup(engine, store, balance=1_000_000)
        yield Kills(valkey_url, namespace, store, setup, archive_location, preforked, tmp_path)
    await flush(valkey_url)


async def records(archive: Archive) -> dict[str, Any]:
    """Read what an archive has, without when each record was read."""
    statements = {
        "events": "SELECT * FROM events ORDER BY partition, entry_ms, entry_number",
        "entries": "SELECT * FROM entries ORDER BY wallet_id, entry_ms, entry_number",
        "wallets": "SELECT * FROM wallets ORDER BY id",
        "payments": "SELECT id, status, amount, refunded_amount, record, digest FROM payments ORDER BY id",
        "invoices": "SELECT id, status, amount, payment_id, record, digest FROM invoices ORDER BY id",
        "positions": "SELECT * FROM positions",
    }
    return {name: list(await archive.database.fetch(statement)) for name, statement in statements.items()}


async def test_an_archiver_that_is_killed_anywhere_leaves_nothing_out_and_nothing_twice(
    kills: Kills, tmp_path: Path
) -> None:
    status, points = await kills.run()
    assert status == 0
    chosen = [point for point in points if point.nth <= PASSES]
    assert {"before write", "after write", "before record_archived", "after record_archived"} <= {
        point.name for point in chosen
    }
    killed, missed = 0, []
    for point in chosen:
        status, passed = await kills.run(point)
        if status == 0:
            missed.append(point)
        else:
            assert passed[-1] == point
            killed += 1
    for delay_ms in DELAYS_MS:
        status, _ = await kills.run(after_ms=delay_ms)
        killed += status == -SIGKILL
    print(f"\nkilled {killed} archivers, {len(missed)} points not reached")  # noqa: T201
    assert killed >= KILLS_MIN
    assert not missed

    async with Archive.at(kills.location) as archive:
        archived = ArchivedStore(kills.store, kills.setup.engine, archive)
        await kills.make_entries()
        assert await archived.copy() > 0
        await archived.assert_whole()
        found = await records(archive)
    await kills.forget()
    async with Archive.at(str(tmp_path / "fresh" / "archive.db")) as fresh:
        await ArchivedStore(kills.store, kills.setup.engine, fresh).copy()
        expected = await records(fresh)
    assert found == expected
    assert len(found["payments"]) >= killed
    assert {row[1] for row in found["invoices"]} >= {"paid", "open"}
