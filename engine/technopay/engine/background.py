"""A loop of background work: it repeats one step, can be woken, and stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from technopay.engine.errors import Fault, OutcomeUnknown, StoreUnavailable
from technopay.engine.outage_log import OutageLog
from technopay.engine.ports import Clock

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSE_AFTER_FAULT_S = 0.5


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


async def run_for_each(items: Sequence[Item], step: Callable[[Item], Awaitable[Result]]) -> Sequence[Result]:
    """Run a step for all items at once; a single one needs no task."""
    if len(items) == 1:
        return [await step(items[0])]
    return await asyncio.gather(*(step(item) for item in items))
