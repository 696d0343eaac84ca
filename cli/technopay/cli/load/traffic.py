"""The traffic of a run: purchases that begin at a fixed rate, or a fixed number at a time."""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from technopay.cli.load import flows
from technopay.cli.load.fixtures import AMOUNT, Fixtures, VirtualUser
from technopay.cli.load.flows import Flow, Purchase, Rejected, Scenario, UnexpectedResult
from technopay.cli.load.recorder import Histogram, Recorder
from technopay.cli.load.result import FlowResult, Plan
from technopay.cli.load.timed_client import Reply
from technopay.engine import TechnopayError

TIGHTEN_AT = 0.4
RUNS_OUT_AFTER = 0.2
"""Shares of the duration: the time when the limit is set, and from then until it runs out."""

FINISH_S = 90.0
"""Longer than any flow takes; a purchase that has not ended by then is cut off."""

FINISH_EARLY_S = 10.0
REJECTED_PAUSE_S = 0.1
LOOK_EVERY_S = 0.05
SEED = 1
"""The same plan has the same purchases, in the same order."""


class Traffic:
    """Runs flows until the time is over or the run is stopped."""

    def __init__(
        self, plan: Plan, scenario: Scenario, fixtures: Fixtures, recorder: Recorder, stopped: asyncio.Event
    ) -> None:
        self._plan = plan
        self._scenario = scenario
        self._fixtures = fixtures
        self._recorder = recorder
        self._stopped = stopped
        self._chance = random.Random(SEED)  # noqa: S311 - not for secrets
        self._clock = asyncio.get_running_loop().time
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(plan.concurrency)
        self._begun = 0
        self.tallies = {flow: FlowResult(name=flow.__name__) for flow in scenario.flows}
        self.lags = Histogram()
        self.began_s = self._clock()
        self.ran_s = 0.0
        self.cpu_s = 0.0
        self.ended_early = False

    @property
    def under_way(self) -> int:
        return len(self._running)

    @property
    def left_s(self) -> float:
        """The time for which new purchases begin."""
        return max(0.0, self.began_s + self._plan.duration_s - self._clock())

    @property
    def never_begun(self) -> int:
        """The number of purchases that were due and still waited for a place at the end."""
        if self._plan.rate_per_s is None:
            return 0
        due = math.ceil(min(self.ran_s, self._plan.duration_s) * self._plan.rate_per_s)
        return max(0, due - self._begun)

    async def run(self) -> None:
        """Begin purchases for the planned time, then let those under way finish."""
        self.began_s, cpu_s = self._clock(), time.process_time()
        helpers = [asyncio.create_task(self._count_seconds())]
        if self._scenario.tightens_limit:
            helpers.append(asyncio.create_task(self._tighten_limit()))
        beginning = asyncio.create_task(self._begin_all())
        stopping = asyncio.create_task(self._stopped.wait())
        await asyncio.wait(
            {beginning, stopping}, timeout=self._plan.duration_s, return_when=asyncio.FIRST_COMPLETED
        )
        self.ended_early = stopping.done()
        await _cancel([beginning])
        self.ran_s, self.cpu_s = self._clock() - self.began_s, time.process_time() - cpu_s
        self._recorder.end_of_time()
        await self._finish(stopping)
        await _cancel([stopping, *helpers, *self._running])

    async def _finish(self, stopping: asyncio.Task[object]) -> None:
        """Wait for purchases under way, in bounded time, and not for long once the run is stopped."""
        if self._running:
            finishing = asyncio.create_task(asyncio.wait(set(self._running)))
            await asyncio.wait({finishing, stopping}, timeout=FINISH_S, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await asyncio.wait({finishing}, timeout=FINISH_EARLY_S)
            await _cancel([finishing])

    async def _begin_all(self) -> None:
        """Begin purchases: at a rate, when each is due; else whenever a place is free.

        A purchase that is due while too many are under way waits, and its latency counts from when it was due:
        a server that is slow for a while does not get fewer purchases.
        """
        rate_per_s = self._plan.rate_per_s
        while self.left_s:
            due_s = self.began_s + self._begun / rate_per_s if rate_per_s else 0.0
            await asyncio.sleep(max(0.0, due_s - self._clock()))
            await self._room.acquire()
            self._begin(due_s or self._clock())

    def _begin(self, due_s: float) -> None:
        self._begun += 1
        flow = self._scenario.pick(self._chance)
        user = self._chance.choice(self._users(flow))
        task = asyncio.create_task(self._run_flow(flow, Purchase(self._fixtures, user, due_s), due_s))
        self._running.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.release()

    def _users(self, flow: Flow) -> Sequence[VirtualUser]:
        if flow is flows.too_poor:
            return self._fixtures.poor
        return self._fixtures.blocked if flow is flows.blocked else self._fixtures.users

    async def _run_flow(self, flow: Flow, purchase: Purchase, due_s: float) -> None:
        tally = self.tallies[flow]
        tally.begun += 1
        try:
            reply = await flow(purchase)
            tally.as_expected += 1
        except Rejected as error:
            reply = error.reply
            tally.turned_away += 1
        except UnexpectedResult as error:
            reply = error.reply
            tally.surprises[str(error)] += 1
            if error.invariant:
                self._fixtures.timed.acknowledgements.report_violation(
                    f"{error.invariant}: {flow.__name__} got {error}"
                )
        except Exception as error:
            # A malformed reply, or a defect of ours: both have to be seen.
            reply = Reply(0, "not_understood", {})
            tally.surprises[f"a reply could not be read: {error!r:.100}"] += 1
        tally.ended += 1
        latency_s = None if purchase.is_slow else self._clock() - due_s
        self._recorder.purchase(reply.status, reply.code, latency_s)
        if reply.is_rejected and self._plan.rate_per_s is None:
            # A rejected client does not try again at once.
            await asyncio.sleep(REJECTED_PAUSE_S)

    async def _count_seconds(self) -> None:
        """Divide the run into seconds, and measure the delay of this event loop."""
        second_ends_s = self.began_s + 1
        while True:
            due_s = self._clock() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self.lags.record(self._clock() - due_s)
            while self._clock() >= second_ends_s:
                self._recorder.end_second(self.under_way)
                second_ends_s += 1

    async def _tighten_limit(self) -> None:
        """Set the limit so that it runs out during the run; an unknown limit stays as it is."""
        await asyncio.sleep(TIGHTEN_AT * self._plan.duration_s)
        more = self._recorder.paid * RUNS_OUT_AFTER / TIGHTEN_AT
        with suppress(TechnopayError):
            before = await self._fixtures.read_limit()
            if before is not None:
                # Half an amount more, so that the remainder in the end is not zero.
                await self._fixtures.set_limit(before.used + round(more) * AMOUNT + AMOUNT // 2)


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    """Cancel tasks; raise the exception of one that had failed."""
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(error, Exception):
            raise error
