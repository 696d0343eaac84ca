import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from support.fixtures.doubles import ManualClock
from support.fixtures.engine_setup import wait_for

from technopay.engine import StoreUnavailable
from technopay.engine.background import PAUSE_AFTER_FAULT_S, Loop

FOREVER_S = 3_600


class Steps:
    """A step with scripted results, which has no more work after them."""

    def __init__(
        self, *script: bool | Exception, before: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._script = list(script)
        self._before = before
        self.count = 0

    async def __call__(self) -> bool:
        self.count += 1
        if self._before:
            await self._before()
        answer = self._script.pop(0) if self._script else False
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def reach(self, count: int) -> None:
        async def reached() -> bool:
            return self.count >= count

        await wait_for(reached)


async def test_steps_follow_at_once_while_there_is_more() -> None:
    steps = Steps(True, True, True)
    loop = Loop("test", steps, FOREVER_S, ManualClock())
    loop.start()

    await steps.reach(4)
    await loop.stop(1)

    assert steps.count == 4


@pytest.mark.parametrize("trouble", [StoreUnavailable(), ZeroDivisionError()], ids=["fault", "crash"])
async def test_the_loop_goes_on_after_trouble_and_a_pause(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    steps, clock = Steps(trouble, trouble), ManualClock()
    loop = Loop("test", steps, FOREVER_S, clock)
    loop.start()

    await steps.reach(3)
    await loop.stop(1)

    assert clock.slept == [PAUSE_AFTER_FAULT_S] * 2
    # The store itself logs the reason of an outage.
    assert caplog.text.count("test fails and goes on") == isinstance(trouble, ZeroDivisionError)


async def test_a_wake_makes_the_next_step_come_now() -> None:
    steps = Steps()
    loop = Loop("test", steps, FOREVER_S, ManualClock())
    loop.start()
    await steps.reach(1)

    loop.wake()
    await steps.reach(2)
    await loop.stop(1)


async def test_a_wake_during_a_step_is_not_lost() -> None:
    async def wake() -> None:
        if steps.count == 1:
            loop.wake()

    steps = Steps(before=wake)
    loop = Loop("test", steps, FOREVER_S, ManualClock())
    loop.start()

    await steps.reach(2)
    await loop.stop(1)


async def test_between_two_steps_there_is_the_pause_and_a_wake_in_it_is_not_lost() -> None:
    class WokenInTheFirstPause(ManualClock):
        async def sleep(self, delay_s: float) -> None:
            if not self.slept:
                loop.wake()
            await super().sleep(delay_s)

    steps, clock = Steps(True), WokenInTheFirstPause()
    loop = Loop("test", steps, FOREVER_S, clock, pause_s=0.25)
    loop.start()

    await steps.reach(3)
    await loop.stop(1)

    assert clock.slept == [0.25, 0.25], "while there is more, there is no pause"


async def test_the_next_step_comes_after_the_interval() -> None:
    steps = Steps()
    loop = Loop("test", steps, 0.005, ManualClock())
    loop.start()

    await steps.reach(3)
    await loop.stop(1)


async def test_a_stop_lets_the_step_finish_and_begins_none() -> None:
    ended: list[bool] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append(True)

    steps = Steps(True, True, True, before=work)
    loop = Loop("test", steps, FOREVER_S, ManualClock())
    loop.start()
    await steps.reach(1)

    await loop.stop(5)

    assert (steps.count, ended) == (1, [True])


async def test_a_stop_does_not_wait_for_ever() -> None:
    steps = Steps(before=lambda: asyncio.sleep(FOREVER_S))
    loop = Loop("test", steps, FOREVER_S, ManualClock())
    loop.start()
    await steps.reach(1)

    async with asyncio.timeout(5):
        await loop.stop(0.01)


async def test_a_cancel_that_a_step_swallows_still_ends_the_loop() -> None:
    async def swallow() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER_S)

    steps = Steps(*[True] * 1_000, before=swallow)
    loop = Loop("test", steps, FOREVER_S, ManualClock())
    loop.start()
    await steps.reach(1)
    assert loop._task is not None

    loop._task.cancel()

    async with asyncio.timeout(5):
        await loop._task
    assert steps.count == 1


async def test_a_loop_that_was_never_started_can_be_stopped() -> None:
    await Loop("test", Steps(), FOREVER_S, ManualClock()).stop(1)
