"""The traffic of a run: purchases that begin at a fixed rate, or as many at a time as there are."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from technopay.cli.load import stories
from technopay.cli.load.purchase import Purchase, SurpriseError, TurnedAwayError
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import Plan
from technopay.cli.load.scenarios import Scenario
from technopay.cli.load.scene import AMOUNT, Scene, Shopper
from technopay.cli.load.stories import Story
from technopay.cli.load.wire import Reply

TIGHTEN_AT = 0.4
RUNS_OUT_AFTER = 0.2
"""Shares of the duration: when the limit is set, and how much later it runs out."""

FINISH_S = 90.0
"""Longer than any story takes; what is not finished then is cut off."""

FINISH_EARLY_S = 10.0
TURNED_AWAY_PAUSE_S = 0.1
LOOK_EVERY_S = 0.05
SEED = 1
"""The same plan has the same purchases, in the same order."""


@dataclass(slots=True)
class Tally:
    """How the purchases of one story went."""

    begun: int = 0
    ended: int = 0
    as_expected: int = 0
    turned_away: int = 0
    surprises: Counter[str] = field(default_factory=Counter)


class Traffic:
    """Plays stories until the time is over or somebody stops it."""

    def __init__(
        self, plan: Plan, scenario: Scenario, scene: Scene, recorder: Recorder, stopped: asyncio.Event
    ) -> None:
        self._plan = plan
        self._scenario = scenario
        self._scene = scene
        self._recorder = recorder
        self._stopped = stopped
        self._chance = random.Random(SEED)  # noqa: S311 - it deals purchases, no secrets
        self._clock = asyncio.get_running_loop().time
        self._playing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(plan.concurrency)
        self._begun = 0
        self.tallies = {story: Tally() for story in scenario.stories}
        self.lags_s: list[float] = []
        self.began_s = self._clock()
        self.ran_s = 0.0
        self.cpu_s = 0.0
        self.ended_early = False

    @property
    def under_way(self) -> int:
        """How many purchases are under way."""
        return len(self._playing)

    @property
    def left_s(self) -> float:
        """How much longer new purchases begin."""
        return max(0.0, self.began_s + self._plan.duration_s - self._clock())

    @property
    def never_begun(self) -> int:
        """How many purchases were due, and waited in line until the time was over."""
        if self._plan.rate_per_s is None:
            return 0
        due = math.ceil(min(self.ran_s, self._plan.duration_s) * self._plan.rate_per_s)
        return max(0, due - self._begun)

    async def run(self) -> None:
        """Begin purchases for as long as planned, then let those under way finish."""
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
        await _cancel([stopping, *helpers, *self._playing])

    async def _finish(self, stopping: asyncio.Task[object]) -> None:
        """Wait until nothing is under way any more, not for ever, and not for long when somebody stops it."""
        if self._playing:
            finishing = asyncio.create_task(asyncio.wait(set(self._playing)))
            await asyncio.wait({finishing, stopping}, timeout=FINISH_S, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await asyncio.wait({finishing}, timeout=FINISH_EARLY_S)
            await _cancel([finishing])

    async def _begin_all(self) -> None:
        """Begin purchases: at a rate, when each is due; else whenever there is room for one.

        What is due while too many are under way waits in line, and its latency counts from when it was due: a
        server that is slow for a while does not get fewer purchases to be slow with.
        """
        rate_per_s = self._plan.rate_per_s
        while self.left_s:
            due_s = self.began_s + self._begun / rate_per_s if rate_per_s else 0.0
            await asyncio.sleep(max(0.0, due_s - self._clock()))
            await self._room.acquire()
            self._begin(due_s or self._clock())

    def _begin(self, due_s: float) -> None:
        self._begun += 1
        story = self._scenario.deal(self._chance)
        shopper = self._chance.choice(self._shoppers(story))
        task = asyncio.create_task(self._play(story, Purchase(self._scene, shopper, due_s), due_s))
        self._playing.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._playing.discard(task)
        self._room.release()

    def _shoppers(self, story: Story) -> Sequence[Shopper]:
        if story is stories.too_poor:
            return self._scene.poor
        return self._scene.blocked if story is stories.blocked else self._scene.shoppers

    async def _play(self, story: Story, purchase: Purchase, due_s: float) -> None:
        tally = self.tallies[story]
        tally.begun += 1
        try:
            reply = await story(purchase)
            tally.as_expected += 1
        except TurnedAwayError as error:
            reply = error.reply
            tally.turned_away += 1
        except SurpriseError as error:
            reply = error.reply
            tally.surprises[str(error)] += 1
            if error.invariant:
                self._scene.wire.journal.complain(f"{error.invariant}: {story.__name__} was answered {error}")
        except Exception as error:
            # An answer of a form that no answer has, or a defect of ours: both have to be seen.
            reply = Reply(0, "not_understood", {})
            tally.surprises[f"an answer was not understood: {error!r:.100}"] += 1
        tally.ended += 1
        latency_s = None if purchase.is_slow else self._clock() - due_s
        self._recorder.purchase(reply.status, reply.code, latency_s)
        if reply.is_turned_away and self._plan.rate_per_s is None:
            # Whoever is turned away at the door does not run against it again at once.
            await asyncio.sleep(TURNED_AWAY_PAUSE_S)

    async def _count_seconds(self) -> None:
        """Divide the run into seconds, and look how late this program itself is."""
        second_ends_s = self.began_s + 1
        while True:
            due_s = self._clock() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self.lags_s.append(self._clock() - due_s)
            while self._clock() >= second_ends_s:
                self._recorder.next_second(self.under_way)
                second_ends_s += 1

    async def _tighten_limit(self) -> None:
        """Set the limit so that it runs out on the way, at the speed that purchases have had so far."""
        await asyncio.sleep(TIGHTEN_AT * self._plan.duration_s)
        more = self._recorder.paid * RUNS_OUT_AFTER / TIGHTEN_AT
        before = await self._scene.read_limit()
        if before is not None:
            # Half an amount more, so that what is left over in the end is not zero.
            await self._scene.set_limit(before["used"] + round(more) * AMOUNT + AMOUNT // 2)


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    """End tasks.

    Raises:
        Exception: one of them had failed.

    """
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(error, Exception):
            raise error
