"""Deadlines that share a timer: each ends its own block, in time, and no other."""

import asyncio
import time

import pytest

from technopay.engine.deadlines import Deadlines


async def test_what_takes_longer_is_ended_and_what_is_in_time_is_not() -> None:
    deadlines, ended = Deadlines(0.02), []

    async def work(name: str, seconds: float) -> None:
        try:
            with deadlines.begin():
                await asyncio.sleep(seconds)
        except TimeoutError:
            ended.append(name)

    async with asyncio.timeout(5):
        await asyncio.gather(work("quick", 0), work("slow", 60), work("slow, too", 60))
        await work("slow and later", 60)

    assert ended == ["slow", "slow, too", "slow and later"]


async def test_each_has_its_whole_time_whatever_began_before() -> None:
    deadlines = Deadlines(0.05)
    loop = asyncio.get_running_loop()
    with deadlines.begin():
        time.sleep(0.03)  # noqa: ASYNC251 - no task needs the loop meanwhile

    began = loop.time()
    with pytest.raises(TimeoutError), deadlines.begin():
        await asyncio.sleep(60)

    assert 0.05 <= loop.time() - began < 5


async def test_who_is_cancelled_from_outside_is_cancelled() -> None:
    deadlines, begun = Deadlines(60), asyncio.Event()

    async def work() -> None:
        with deadlines.begin():
            begun.set()
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_who_is_cancelled_from_outside_in_the_instant_of_the_deadline_is_cancelled() -> None:
    deadlines = Deadlines(0.01)
    working: asyncio.Task[None]

    async def work() -> None:
        with deadlines.begin() as deadline:
            deadline.end()
            working.cancel()
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_an_error_stays_what_it_is_and_a_block_that_ended_is_left_alone() -> None:
    deadlines = Deadlines(0.01)
    with pytest.raises(ZeroDivisionError), deadlines.begin():
        raise ZeroDivisionError

    await asyncio.sleep(0.05)  # a deadline that was still watched would end this
