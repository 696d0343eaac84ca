"""Which partitions an engine polls when it is idle, so that many engines do not all poll all of them.

Each partition has an owner among the engines of a store (rendezvous hashing, Thaler and Ravishankar 1998) and
a runner-up, which polls it rarely. This is a hint only: claims keep two engines from doing the same work. An
engine that writes to a partition reads its journal at once, as its owner or not.
"""

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from technopay.engine.background import PartitionTasks
from technopay.engine.commands import AnnounceEngine
from technopay.engine.errors import Fault
from technopay.engine.ports import Clock, Store

Result = TypeVar("Result")

ANNOUNCE_INTERVAL_S = 5.0
"""An engine counts for three times as long, see announce_engine.lua."""
RUNNER_UP_INTERVAL_S = 10.0
IDLE_POLLS_PER_S_MAX = 64
"""Of one loop of an engine: an owner of more than 32 partitions polls each of them less often."""
NEVER_S = 1e9


class PollIntervals(Protocol):
    """How often each partition is polled."""

    def poll_interval_s(self, partition: int, interval_s: float) -> float:
        """Return the interval for a partition, where a single one is polled every `interval_s`."""


class PartitionOwners:
    """The owner and the runner-up of each partition, among the engines that have announced themselves."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._engines: tuple[str, ...] = ()
        self._ranks: dict[int, int] = {}
        self.owned = 0
        """The number of partitions that this engine owns."""
        self._learn((name,))

    async def announce(self) -> bool:
        """Announce this engine, and learn which others there are; a step of a loop."""
        if len(self._store.partitions) > 1:
            found = (await self._store.run(AnnounceEngine(self._name, stays=True))).value or ()
            self._learn(tuple(sorted({self._name, *found})))
        return False

    async def leave(self) -> None:
        """Let the other engines know at once that this one ends."""
        if len(self._store.partitions) > 1:
            with suppress(Fault):  # they notice it later
                await self._store.run(AnnounceEngine(self._name, stays=False))

    def rank(self, partition: int) -> int:
        """Return 0 for a partition that this engine owns, 1 where it is the runner-up, else 2."""
        return self._ranks.get(partition, 0)

    def poll_interval_s(self, partition: int, interval_s: float) -> float:
        rank = self.rank(partition)
        if rank == 0:
            return max(interval_s, self.owned / IDLE_POLLS_PER_S_MAX)
        return RUNNER_UP_INTERVAL_S if rank == 1 else NEVER_S

    def _learn(self, engines: tuple[str, ...]) -> None:
        if engines == self._engines:
            return
        self._engines = engines
        for partition in self._store.partitions:
            own = _weight(self._name, partition)
            before = sum(_weight(each, partition) > own for each in engines)
            self._ranks[partition] = min(before, 2)
        self.owned = sum(rank == 0 for rank in self._ranks.values())


def _weight(engine: str, partition: int) -> bytes:
    return hashlib.blake2b(f"{engine} {partition}".encode(), digest_size=8).digest()


class Polls(Generic[Result]):
    """Runs a step of background work for the partitions that are due."""

    def __init__(
        self,
        name: str,
        step: Callable[[int], Coroutine[Any, Any, Result]],
        store: Store,
        intervals: PollIntervals,
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._step = step
        self._store = store
        self._intervals = intervals
        self._clock = clock
        self._interval_s = interval_s
        self._tasks = PartitionTasks(name, step)
        self._polled_at_s: dict[int, float] = {}
        self._due_at_s: dict[int, float] = {}

    def note_due(self, partition: int, in_s: float = 0.0) -> None:
        """Poll a partition then, as its owner or not."""
        due_at_s = self._clock.monotonic() + in_s
        self._due_at_s[partition] = min(due_at_s, self._due_at_s.get(partition, inf))

    async def run(self) -> Mapping[int, Result]:
        """Run the step for all partitions that are due; return the results of those that have ended.

        Raises:
            Exception: the store has one partition, and its step raised this.

        """
        partitions = self._store.partitions
        if len(partitions) == 1:
            return {partitions[0]: await self._step(partitions[0])}
        return await self._tasks.run(self._take())

    async def stop(self, drain_s: float) -> None:
        """Wait for running steps, but not longer than `drain_s`."""
        await self._tasks.stop(drain_s)

    def _take(self) -> Sequence[int]:
        """Return the partitions that are due, and count them as polled."""
        now_s, partitions = self._clock.monotonic(), self._store.partitions
        due = [each for each in partitions if self._is_due(each, now_s) and not self._tasks.is_running(each)]
        for partition in due:
            self._due_at_s.pop(partition, None)
            # The first polls come at once and count as spread over an interval, so that the next ones are.
            is_first = partition not in self._polled_at_s
            spread_s = self._interval_of(partition) * partition / len(partitions) if is_first else 0.0
            self._polled_at_s[partition] = now_s - spread_s
        return due

    def _is_due(self, partition: int, now_s: float) -> bool:
        polled_at_s = self._polled_at_s.get(partition, -inf)
        return min(polled_at_s + self._interval_of(partition), self._due_at_s.get(partition, inf)) <= now_s

    def _interval_of(self, partition: int) -> float:
        return self._intervals.poll_interval_s(partition, self._interval_s)
