"""Days in the business time zone, daylight saving included, and their boundaries for scripts."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fixtures.clock import FakeClock
from support.fixtures.store_setup import Setup

from technopay.storage import RedisStore
from technopay.storage.business_days import Calendar

ZONES = ["UTC", "Europe/Berlin", "America/Havana", "America/Asuncion", "Asia/Kolkata", "Pacific/Kiritimati"]


def ms(text: str) -> int:
    """Turn a time in UTC into milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def bounds(periods: Sequence[str]) -> tuple[int, list[tuple[str, int]]]:
    """Parse the periods for scripts."""
    window, start, *rest = periods
    assert window == "day"
    return int(start), [(day, int(end)) for day, end in zip(rest[::2], rest[1::2], strict=True)]


@pytest.mark.parametrize(
    ("zone", "day", "starts_at", "hours"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00", 24),
        ("Asia/Kolkata", "2026-03-29", "2026-03-28T18:30", 24),
        # Berlin: clocks go forward and back in the middle of the night.
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        # Havana: in spring there is no midnight, in autumn there are two.
        ("America/Havana", "2026-03-08", "2026-03-08T05:00", 23),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),
        # Asuncion until 2024: no midnight in spring; in autumn the last hour of the day came twice.
        ("America/Asuncion", "2023-10-01", "2023-10-01T04:00", 23),
        ("America/Asuncion", "2023-03-25", "2023-03-25T03:00", 25),
    ],
)
def test_a_day_begins_and_ends_at_its_first_instant(zone: str, day: str, starts_at: str, hours: int) -> None:
    starts_at_ms = ms(starts_at)
    ends_at_ms = starts_at_ms + hours * 3_600_000
    for now_ms in (starts_at_ms, ends_at_ms - 1):
        start, days = bounds(Calendar(zone).periods(now_ms))
        assert days[1] == (day, ends_at_ms)
        assert days[0][1] == starts_at_ms
        assert start < starts_at_ms
    _, days = bounds(Calendar(zone).periods(ends_at_ms))
    assert days[0] == (day, ends_at_ms)
    _, days = bounds(Calendar(zone).periods(starts_at_ms - 1))
    assert days[2] == (day, ends_at_ms)


@given(
    zone=st.sampled_from(ZONES),
    now_ms=st.integers(ms("2000-01-01"), ms("2040-01-01")),
)
def test_the_three_days_are_those_around_now_and_leave_no_gap(zone: str, now_ms: int) -> None:
    start, days = bounds(Calendar(zone).periods(now_ms))
    ends = [start, *(end for _, end in days)]
    assert all(before < after for before, after in pairwise(ends))
    assert ends[1] <= now_ms < ends[2]
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    assert [day for day, _ in days] == [(today + timedelta(days=offset)).isoformat() for offset in (-1, 0, 1)]


@pytest.mark.parametrize("now", ["1970-01-04", "2001-09-09", "2026-07-05T12:00", "2286-11-17"])
def test_times_have_13_digits_by_which_scripts_compare_them_as_text(now: str) -> None:
    window, start, *rest = Calendar("UTC").periods(ms(now))
    assert (window, len(rest)) == ("day", 6)
    assert all(re.fullmatch(r"\d{13}", at) for at in (start, *rest[1::2]))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in rest[::2])


@given(zone=st.sampled_from(ZONES), now_ms=st.integers(ms("2000-01-01"), ms("2040-01-01")))
def test_the_end_of_a_period_is_found_by_its_name(zone: str, now_ms: int) -> None:
    calendar = Calendar(zone)
    for day, end in bounds(calendar.periods(now_ms))[1]:
        assert calendar.ends_at_ms("day", day) == end


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", "2026-07-06T00:00"),
        ("Europe/Berlin", "2026-03-28T23:00"),
        ("Europe/Berlin", "2026-03-29T22:00"),
        ("Europe/Berlin", "2026-10-25T23:00"),
        ("America/Havana", "2026-03-08T05:00"),
        ("America/Havana", "2026-11-01T04:00"),
        ("America/Havana", "2026-11-02T05:00"),
        ("America/Asuncion", "2023-10-01T04:00"),
        ("America/Asuncion", "2023-03-26T04:00"),
    ],
)
async def test_the_limit_starts_anew_at_midnight_exactly(
    fake_clock: FakeClock, zone: str, midnight: str
) -> None:
    fake_clock.now_ms = ms(midnight) - 60_000
    async with RedisStore.fake(timezone=zone) as store:
        setup = Setup(store)
        await setup.user("alice")
        wallet = await setup.wallet()
        await setup.set_limit("EUR", 1_500)
        before = (await setup.limit()).resets_at
        assert round(before.timestamp() * 1000) == ms(midnight)
        last, next_ = [await setup.started(wallet, await setup.invoice()) for _ in range(2)]

        fake_clock.now_ms = ms(midnight) - 1
        assert (await setup.confirm(last)).code == "ok"
        assert (await setup.confirm(next_)).code == "daily_limit_exceeded"
        assert (await setup.limit()).used == 1_000

        fake_clock.now_ms = ms(midnight)
        assert (await setup.limit()).used == 0
        assert (await setup.confirm(next_)).code == "ok"
        days = [await setup.day(payment) for payment in (last, next_)]
        assert days[0] < days[1]
        used = await setup.counter()
        assert [used[day] for day in days] == ["1000", "1000"]


@pytest.mark.parametrize(
    "jump", [timedelta(days=1), timedelta(days=2), timedelta(days=40), timedelta(days=-40)]
)
async def test_a_clock_that_left_the_known_days_is_followed(
    clocked: Setup, fake_clock: FakeClock, jump: timedelta
) -> None:
    wallet = await clocked.wallet()
    await clocked.set_limit("EUR", 1_500)
    await clocked.processing(wallet)
    fake_clock.advance(round(jump.total_seconds() * 1000))
    assert (await clocked.limit()).used == 0
    payment_id, _ = await clocked.processing(wallet)
    day = datetime.fromtimestamp(fake_clock.now_ms / 1000, UTC).date().isoformat()
    assert await clocked.day(payment_id) == day


async def test_a_clock_that_stepped_back_over_midnight_counts_for_yesterday(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    fake_clock.now_ms = ms("2026-07-06T00:00")
    wallet = await clocked.wallet()
    await clocked.set_limit("EUR", 5_000)
    fake_clock.advance(-1)
    payment_id, _ = await clocked.processing(wallet)
    assert await clocked.day(payment_id) == "2026-07-05"
