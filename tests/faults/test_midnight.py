"""Midnights of business time zones, on a real server with a settable clock: the day of the limit changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.fixed_code import open_store
from support.fixtures.store_setup import Setup
from support.servers.faked_server import FakedServer, running_faked_server

LIMIT = 1_000
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Midnight:
    """A midnight: the zone, the day that ends, the day that begins, the instant, the hours of the new day."""

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
def clock() -> Iterator[FakedServer]:
    with running_faked_server(datetime(2026, 1, 1, tzinfo=UTC)) as server:
        yield server


@pytest.mark.parametrize("midnight", MIDNIGHTS, ids=lambda each: f"{each.zone} {each.new_day}")
async def test_the_limit_begins_anew_at_midnight_and_a_debit_given_back_returns_to_its_day(
    clock: FakedServer, namespace: str, midnight: Midnight
) -> None:
    clock.set(midnight.instant - 5 * SECOND)
    async with open_store(clock.url, namespace, midnight.zone) as store:
        setup = Setup(store)
        await setup.user("alice")
        await setup.set_limit("EUR", LIMIT)
        wallet = await setup.wallet()
        refused = await setup.started(wallet, await setup.invoice(amount=1))
        late, late_claim = await setup.processing(wallet, 300)
        paid, paid_claim = await setup.processing(wallet, 700)
        outcome = await setup.confirm(refused)
        assert outcome.code == "daily_limit_exceeded"
        assert outcome.details["limit"].resets_at == (await setup.limit()).resets_at == midnight.instant

        clock.set(midnight.instant)
        limit = await setup.limit()
        assert (limit.used, limit.remaining, limit.resets_at) == (0, LIMIT, midnight.next)
        whole, whole_claim = await setup.processing(wallet, LIMIT)
        paid_at = (await setup.payment(whole)).paid_at
        assert paid_at is not None
        assert midnight.instant <= paid_at < midnight.instant + 10 * SECOND
        assert (await setup.complete(late, late_claim, "given_back")).code == "ok"
        for payment_id, claim in ((paid, paid_claim), (whole, whole_claim)):
            assert (await setup.complete(payment_id, claim, "settled")).code == "ok"

        assert (await setup.confirm(refused)).code == "daily_limit_exceeded"
        used = await setup.counter()
        assert (used[midnight.old_day], used[midnight.new_day]) == ("700", str(LIMIT))
        days = [await setup.day(payment_id) for payment_id in (paid, late, whole)]
        assert days == [midnight.old_day, midnight.old_day, midnight.new_day]
        clock.set(midnight.next)
        assert (await setup.limit()).used == 0
    await assert_books_balance(clock.url, namespace)
