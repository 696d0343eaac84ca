"""The day of the limit turns at midnight of the business time zone, on a real server whose clock is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, make_setup, quick_settings
from support.fixtures.store_setup import Setup as Records
from support.processes.worker import CODE, open_store
from support.servers.faked_server import FakedServer, running_faked_server

from technopay.engine import (
    DailyLimitExceeded,
    Engine,
    FixedCode,
    Invoice,
    Payment,
    SettlementFailed,
)
from technopay.engine.ports import RefundTerms
from technopay.engine.values import PaymentTerms

LIMIT = 1_000
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AROUND, EACH_S = 24, 0.04


@dataclass(frozen=True)
class Midnight:
    """A midnight: where, which day ends, which begins, when, and when the new one ends."""

    zone: str
    old_day: str
    new_day: str
    at: str
    hours: int

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.at)

    @property
    def next(self) -> datetime:
        return self.instant + timedelta(hours=self.hours)


MIDNIGHTS = [
    Midnight("UTC", "2026-12-31", "2027-01-01", "2027-01-01T00:00Z", 24),
    Midnight("UTC", "2028-02-28", "2028-02-29", "2028-02-29T00:00Z", 24),
    Midnight("UTC", "2028-02-29", "2028-03-01", "2028-03-01T00:00Z", 24),
    Midnight("Europe/Berlin", "2026-03-28", "2026-03-29", "2026-03-28T23:00Z", 23),
    Midnight("Europe/Berlin", "2026-10-24", "2026-10-25", "2026-10-24T22:00Z", 25),
    Midnight("America/New_York", "2026-03-07", "2026-03-08", "2026-03-08T05:00Z", 23),
    Midnight("America/New_York", "2026-10-31", "2026-11-01", "2026-11-01T04:00Z", 25),
    # Here midnight itself is skipped: the day begins at one o'clock.
    Midnight("America/Sao_Paulo", "2018-11-03", "2018-11-04", "2018-11-04T03:00Z", 23),
    Midnight("Africa/Cairo", "2026-04-23", "2026-04-24", "2026-04-23T22:00Z", 23),
    Midnight("Asia/Beirut", "2026-03-28", "2026-03-29", "2026-03-28T22:00Z", 23),
    # Samoa crossed the date line: the thirtieth of December 2011 never was.
    Midnight("Pacific/Apia", "2011-12-29", "2011-12-31", "2011-12-30T10:00Z", 24),
]


@pytest.fixture(scope="module")
def faked() -> Iterator[FakedServer]:
    with running_faked_server(MIDNIGHTS[0].instant) as server:
        yield server


class Gate:
    """A settlement service that settles at once, but keeps one merchant waiting, and then declines."""

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def settle(self, terms: PaymentTerms) -> Any:
        if terms.merchant == "late":
            self.asked.set()
            await self.let.wait()
            return "declined"
        return "settled"

    async def status(self, terms: PaymentTerms) -> Any:
        return "pending"

    async def call_off(self, terms: PaymentTerms) -> Any:
        raise NotImplementedError

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Any:
        return "reversed"


@dataclass(frozen=True)
class Night:
    """A user whose payments go on around a midnight."""

    clock: FakedServer
    alice: Setup
    records: Records
    gate: Gate

    async def invoice(self, amount: int, merchant: str = "shop") -> Invoice:
        return await self.alice.engine.create_invoice(
            user_id="alice", amount=amount, currency="EUR", merchant=merchant, expires_at=FAR_AHEAD
        )

    async def start(self, amount: int, merchant: str = "shop") -> Payment:
        return await self.alice.start(await self.invoice(amount, merchant))

    async def pay(self, amount: int) -> Payment:
        return await self.alice.confirm(await self.start(amount), CODE)

    async def used(self, day: str) -> int:
        """Read what was counted for a day."""
        return int((await self.records.fields("limit", "global:EUR")).get(day, "0"))


@asynccontextmanager
async def night(clock: FakedServer, zone: str, namespace: str) -> AsyncIterator[Night]:
    """Open a store in a zone; audit it in the end."""
    gate = Gate()
    settings = quick_settings(settlement_timeout_s=6.0)
    async with (
        open_store(clock.url, namespace, zone) as store,
        Engine(store, settings, verifier=FixedCode(CODE), settlement_service=gate) as engine,
    ):
        alice = await make_setup(engine, store, balance=100_000)
        await engine.set_limit(currency="EUR", amount=LIMIT)
        yield Night(clock, alice, Records(store), gate)
    await assert_books_balance(clock.url, namespace)


@pytest.mark.parametrize("midnight", MIDNIGHTS, ids=lambda each: f"{each.zone} {each.new_day}")
async def test_a_day_ends_at_midnight_and_takes_back_what_was_charged_to_it(
    faked: FakedServer, namespace: str, midnight: Midnight
) -> None:
    faked.set(midnight.instant - 100 * SECOND)
    async with night(faked, midnight.zone, namespace) as own:
        engine = own.alice.engine
        starts = [await own.start(1) for _ in range(2)]
        late = await own.start(300, "late")
        faked.set(midnight.instant - 5 * SECOND)
        paid = await own.pay(700)
        declining = asyncio.create_task(own.alice.confirm(late, CODE, wait_s=10))
        await own.gate.asked.wait()
        with pytest.raises(DailyLimitExceeded) as refused:
            await own.alice.confirm(starts[0], CODE)
        assert refused.value.limit
        assert paid.limits[0].resets_at == refused.value.limit.resets_at == midnight.instant
        assert await own.used(midnight.old_day) == LIMIT

        faked.set(midnight.instant)
        [limit] = await engine.list_all_limits()
        assert (limit.used, limit.remaining, limit.resets_at) == (0, LIMIT, midnight.next)
        whole = await own.pay(LIMIT)
        assert whole.paid_at is not None
        assert midnight.instant <= whole.paid_at < midnight.instant + 10 * SECOND
        assert whole.limits[0].resets_at == midnight.next
        own.gate.let.set()
        with pytest.raises(SettlementFailed):
            await declining

        with pytest.raises(DailyLimitExceeded):
            await own.alice.confirm(starts[1], CODE)
        assert await own.used(midnight.old_day) == 700
        assert await own.used(midnight.new_day) == LIMIT
        days = [await own.records.day(payment.id) for payment in (paid, late, whole)]
        assert days == [midnight.old_day, midnight.old_day, midnight.new_day]
        faked.set(midnight.next)
        [limit] = await engine.list_all_limits()
        assert limit.used == 0


@pytest.mark.parametrize("midnight", MIDNIGHTS[3:5], ids=lambda each: f"{each.zone} {each.new_day}")
async def test_every_payment_of_a_stream_over_midnight_counts_for_the_day_of_its_debit(
    faked: FakedServer, namespace: str, midnight: Midnight
) -> None:
    faked.set(midnight.instant - 60 * SECOND)
    async with night(faked, midnight.zone, namespace) as own:
        payments = [await own.start(10) for _ in range(AROUND)]

        async def confirm(number: int) -> Payment:
            await asyncio.sleep(number * EACH_S)
            return await own.alice.confirm(payments[number], CODE)

        faked.set(midnight.instant - AROUND / 2 * EACH_S * SECOND)
        paid = await asyncio.gather(*(confirm(number) for number in range(AROUND)))

        before = [payment for payment in paid if payment.paid_at and payment.paid_at < midnight.instant]
        assert 0 < len(before) < AROUND
        for payment in paid:
            day = midnight.old_day if payment in before else midnight.new_day
            assert await own.records.day(payment.id) == day
        assert await own.used(midnight.old_day) == 10 * len(before)
        assert await own.used(midnight.new_day) == 10 * (AROUND - len(before))
