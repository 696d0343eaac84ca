"""Background work: a loop that repeats one step, and steps that run for partitions side by side."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, TypeVar

from technopay.engine.errors import Fault, OutcomeUnknown, StoreUnavailable
from technopay.engine.outage_log import OutageLog
from technopay.engine.ports import Clock

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

PAUSE_AFTER_FAULT_S = 0.5
PATIENCE_S = 0.25
"""How long a step waits for its slowest partition."""


class Loop:
    """Repeats a step: at once if it returned True, else after a wake-up or an interval.

    `pause_s` comes before each wait, so that a step has more work. After a fault or an exception, which is
    logged, the loop goes on after a pause.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[bool]],
        interval_s: float,
        clock: Clock,
        *,
        pause_s: float = 0.0,
    ) -> None:
        self._pause_s = pause_s
        self._name = name
        self._step = step
        self._interval_s = interval_s
        self._clock = clock
        self._outage = OutageLog(logger, f"{name} fails and goes on", f"{name} works again")
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Run the next step now."""
        self._wake.set()

    async def stop(self, drain_s: float) -> None:
        """Wait for the running step, but not longer than `drain_s`."""
        self._stopping = True
        self._wake.set()
        if self._task:
            _, late = await asyncio.wait([self._task], timeout=drain_s)
            for task in late:
                task.cancel()

    async def _run(self) -> None:
        task = asyncio.current_task()
        # A library can swallow the cancellation, but the task still counts it.
        while not self._stopping and not (task and task.cancelling()):
            self._wake.clear()
            try:
                more = await self._step()
            except (StoreUnavailable, OutcomeUnknown) as fault:
                logger.debug("%s pauses: %s", self._name, fault)  # the store logs the reason
                await self._clock.sleep(PAUSE_AFTER_FAULT_S)
                continue
            except Exception as error:
                self._outage.fail(repr(error), exc_info=not isinstance(error, Fault))
                await self._clock.sleep(PAUSE_AFTER_FAULT_S)
                continue
            self._outage.end()
            if not more and not self._stopping:
                await self._rest()

    async def _rest(self) -> None:
        if self._pause_s:
            await self._clock.sleep(self._pause_s)
        try:
            async with asyncio.timeout(self._interval_s):
                await self._wake.wait()
        except TimeoutError:
            pass


class PartitionTasks(Generic[Result]):
    """Runs a step for partitions, at most once at a time for each: a slow one does not hold up the others."""

    def __init__(self, name: str, step: Callable[[int], Coroutine[Any, Any, Result]]) -> None:
        self._name = name
        self._step = step
        self._outage = OutageLog(logger, f"{name} fails and goes on", f"{name} works again")
        self._running: dict[int, asyncio.Task[Result]] = {}

    def is_running(self, partition: int) -> bool:
        return partition in self._running

    async def run(self, partitions: Iterable[int]) -> Mapping[int, Result]:
        """Run the step for those partitions that it does not run for; return results.

        Those of slow partitions are returned by a later call.
        """
        loop = asyncio.get_running_loop()
        new = [each for each in partitions if each not in self._running]
        begun = {each: loop.create_task(self._step(each)) for each in new}
        self._running |= begun
        if begun:
            await asyncio.wait(begun.values(), timeout=PATIENCE_S)
        ended = {each: task for each, task in self._running.items() if task.done()}
        for partition in ended:
            del self._running[partition]
        results = {each: task.result() for each, task in ended.items() if self._has_result(each, task)}
        if ended and len(results) == len(ended):
            self._outage.end()
        return results

    async def stop(self, drain_s: float) -> None:
        """Wait for running steps, but not longer than `drain_s`."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=drain_s)
            for task in late:
                task.cancel()

    def _has_result(self, partition: int, task: "asyncio.Task[Result]") -> bool:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Fault):
            logger.debug("%s of partition %02x: %s", self._name, partition, error)  # the store logs the reason
        elif error is not None:
            self._outage.fail(f"partition {partition:02x}: {error!r}", exc_info=error)
        return not task.cancelled() and error is None
