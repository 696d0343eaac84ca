"""Load shedding: the limit follows the lag of the loop, and requests, waits and streams are counted."""

import asyncio
import time

import pytest

from technopay.engine import Overloaded, RateLimited
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import (
    LATE_S,
    LIMIT_MIN,
    SAMPLE_INTERVAL_S,
    AdaptiveLimit,
    ConcurrencyLimit,
)


def limits(limit: AdaptiveLimit, *updates: tuple[float, int]) -> list[int]:
    """Update a limit with lags and running requests; return its values."""
    values = []
    for lag_s, running in updates:
        limit.update(lag_s, running)
        values.append(limit.value)
    return values


def test_a_late_loop_lowers_the_limit_to_the_minimum_and_one_in_time_leaves_it() -> None:
    limit = AdaptiveLimit(1_000)
    assert limits(limit, (LATE_S, 0), (LATE_S, 500), (LATE_S, 1_000)) == [1_000] * 3
    assert limits(limit, (2 * LATE_S, 600), (2 * LATE_S, 600)) == [540, 486]
    assert limits(limit, *[(60.0, 40)] * 50)[-1] == LIMIT_MIN
    assert limits(AdaptiveLimit(3), (60.0, 3)) == [3], "a small limit stays"


def test_a_loop_in_time_again_raises_the_limit_step_by_step() -> None:
    limit = AdaptiveLimit(1_000)
    assert limits(limit, (2 * LATE_S, 300), (0.0, 270)) == [270, 320]
    assert limits(limit, *[(0.0, 270)] * 20)[-1] == 1_000


async def test_a_drain_waits_for_running_requests_in_bounded_time_and_refuses_new_ones() -> None:
    concurrency = ConcurrencyLimit(ServerLimits(requests_max=10))
    concurrency.acquire()
    began = time.monotonic()
    await concurrency.drain(0.05)
    assert 0.05 <= time.monotonic() - began < 5

    draining = asyncio.create_task(concurrency.drain(10))
    await asyncio.wait([draining], timeout=0.05)
    assert concurrency.draining
    assert not draining.done()
    concurrency.release()
    await draining
    await concurrency.drain(10)
    with pytest.raises(Overloaded, match="shutting down"):
        concurrency.acquire()


async def test_the_number_of_requests_is_bounded_with_places_left_for_those_that_finish() -> None:
    concurrency = ConcurrencyLimit(ServerLimits(requests_max=8))
    for _ in range(6):
        concurrency.acquire(starts=True)
    with pytest.raises(Overloaded):
        concurrency.acquire(starts=True)
    concurrency.acquire()
    concurrency.acquire()
    with pytest.raises(Overloaded):
        concurrency.acquire()
    concurrency.release()
    concurrency.acquire()
    assert concurrency.running == 8


async def test_a_late_loop_lets_fewer_in_until_it_is_in_time_again() -> None:
    concurrency = ConcurrencyLimit(ServerLimits(requests_max=1_000))
    watching = asyncio.create_task(concurrency.watch_lag())
    for _ in range(300):
        concurrency.acquire()
    await asyncio.sleep(0)

    time.sleep(SAMPLE_INTERVAL_S + 3 * LATE_S)  # noqa: ASYNC251 - it makes the loop late
    async with asyncio.timeout(10):
        while concurrency.allowed == 1_000:  # noqa: ASYNC110
            await asyncio.sleep(0)

    assert concurrency.allowed == 270
    with pytest.raises(Overloaded):
        concurrency.acquire()
    async with asyncio.timeout(10):
        while concurrency.allowed < 1_000:  # noqa: ASYNC110
            await asyncio.sleep(SAMPLE_INTERVAL_S)
    concurrency.acquire()
    watching.cancel()


async def test_the_requests_of_one_user_are_bounded() -> None:
    concurrency = ConcurrencyLimit(ServerLimits(requests_max=10, requests_per_user_max=2))
    concurrency.acquire_for("alice")
    concurrency.acquire_for("alice")
    with pytest.raises(RateLimited) as refused:
        concurrency.acquire_for("alice")
    assert refused.value.retry_after_s == 1.0
    concurrency.acquire_for("bob")
    concurrency.release_for("alice")
    concurrency.acquire_for("alice")


async def test_a_stream_takes_no_requests_place_and_a_drain_waits_for_it() -> None:
    concurrency = ConcurrencyLimit(ServerLimits(requests_max=1))
    concurrency.acquire()
    with concurrency.as_stream():
        assert concurrency.running == 0
        concurrency.acquire()
        concurrency.release()
        draining = asyncio.create_task(concurrency.drain(10))
        await asyncio.wait([draining], timeout=0.05)
        assert not draining.done()
    concurrency.release()
    await draining
    assert concurrency.running == 0


async def test_a_wait_takes_no_place_of_its_users_requests_and_a_drain_waits_for_it() -> None:
    concurrency = ConcurrencyLimit(
        ServerLimits(requests_max=1, requests_per_user_max=1, waits_max=2, waits_per_user_max=1)
    )
    concurrency.acquire()
    concurrency.acquire_for("alice")
    assert concurrency.begin_wait("alice")
    assert not concurrency.begin_wait("alice"), "a user has only so many waits"
    concurrency.acquire()
    concurrency.acquire_for("alice")
    concurrency.release_for("alice")
    concurrency.acquire_for("bob")
    assert concurrency.begin_wait("bob")
    assert not concurrency.begin_wait("carol"), "and so has the server"
    concurrency.end_wait("bob")
    concurrency.release_for("bob")
    concurrency.release()
    draining = asyncio.create_task(concurrency.drain(10))
    await asyncio.wait([draining], timeout=0.05)
    assert not draining.done()
    concurrency.end_wait("alice")
    assert concurrency.begin_wait("alice")
    concurrency.end_wait("alice")
    concurrency.release_for("alice")
    concurrency.release()
    await draining
    assert (concurrency.running, concurrency._by_user, concurrency._waits_by_user) == (0, {}, {})
