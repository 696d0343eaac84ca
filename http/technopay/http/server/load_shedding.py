"""Load shedding: a limit of concurrent requests, which is lower while the event loop is late, and 0 in a drain.

Past the capacity of a process, each further request slows down all others. So the limit falls by a tenth while
the loop is late, and rises by a step when it is not (AIMD, as in TCP).
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from technopay.engine import Overloaded, RateLimited
from technopay.http.server.limits import ServerLimits

RESERVED_FOR_FINISHING = 0.25
"""The share of the limit that requests which start something new must leave free."""

SAMPLE_INTERVAL_S = 0.05
LATE_S = 0.1
"""A turn of the loop that takes longer is late."""
LIMIT_MIN = 192
"""The limit never falls below this: some requests wait for a settlement, and cost nothing meanwhile."""
DECREASE = 0.9
INCREASE_STEPS = 20
"""From 0 to the maximum in so many samples."""


class AdaptiveLimit:
    """A limit that depends on the lag of the event loop."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._minimum = min(LIMIT_MIN, maximum)
        self.value = maximum

    def update(self, lag_s: float, running: int) -> None:
        """Adjust the limit to the lag with so many concurrent requests."""
        if lag_s > LATE_S:
            self.value = max(self._minimum, int(DECREASE * min(self.value, running)))
        else:
            self.value = min(self._maximum, self.value + max(1, self._maximum // INCREASE_STEPS))


class ConcurrencyLimit:
    """Counts concurrent requests, streams and waits, and refuses those past the limits."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._limit = AdaptiveLimit(limits.requests_max)
        self.running = 0
        """The number of concurrent requests."""
        self._streams = 0
        self._waits = 0
        self._by_user: dict[str, int] = {}
        self._waits_by_user: dict[str, int] = {}
        self._draining = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the server shuts down."""
        return self._draining.is_set()

    @property
    def allowed(self) -> int:
        """The current limit of concurrent requests."""
        return self._limit.value

    async def watch_lag(self) -> None:
        """Measure the lag of the event loop until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due_s = clock() + SAMPLE_INTERVAL_S
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            self._limit.update(clock() - due_s, self.running)

    def acquire(self, *, starts: bool = False) -> None:
        """Count a request in, or raise Overloaded at the limit and in a drain; `release` has to follow.

        With `starts`, a part of the limit stays free: to finish purchases goes before to start more.
        """
        if self._draining.is_set():
            raise Overloaded("The server is shutting down. Nothing happened; try again.")
        allowed = self._limit.value
        if starts:
            allowed -= int(RESERVED_FOR_FINISHING * allowed)
        if self.running >= allowed:
            raise Overloaded("The server is at capacity. Nothing happened; try again.")
        self.running += 1
        self._quiet.clear()

    def release(self) -> None:
        """Count a request out."""
        self.running -= 1
        if not self.running and not self._streams and not self._waits:
            self._quiet.set()

    def acquire_for(self, user_id: str) -> None:
        """Count a user's request in, or raise RateLimited at the user's limit; `release_for` has to follow."""
        running = self._by_user.get(user_id, 0)
        if running >= self._limits.requests_per_user_max:
            raise RateLimited("Too many concurrent requests of this user.", retry_after_s=1.0)
        self._by_user[user_id] = running + 1

    def release_for(self, user_id: str) -> None:
        """Count a request of a user out."""
        _decrement(self._by_user, user_id)

    @contextmanager
    def as_stream(self) -> Iterator[None]:
        """Count a request as a stream: it is no concurrent request, but a drain waits for it."""
        self.running -= 1
        self._streams += 1
        try:
            yield
        finally:
            self.running += 1
            self._streams -= 1

    def begin_wait(self, user_id: str) -> bool:
        """Count a request as a wait if one is free; then `end_wait` has to follow.

        A wait is no concurrent request, also not of its user, but a drain waits for it.
        """
        waits = self._waits_by_user.get(user_id, 0)
        if self._waits >= self._limits.waits_max or waits >= self._limits.waits_per_user_max:
            return False
        self._waits += 1
        self._waits_by_user[user_id] = waits + 1
        self.release_for(user_id)
        self.running -= 1
        return True

    def end_wait(self, user_id: str) -> None:
        """Count a wait as a concurrent request again."""
        self._waits -= 1
        _decrement(self._waits_by_user, user_id)
        self._by_user[user_id] = self._by_user.get(user_id, 0) + 1
        self.running += 1

    async def drain(self, within_s: float) -> None:
        """Refuse new requests, and wait for the running ones for at most this time."""
        self._draining.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), within_s)

    async def wait_until_draining(self) -> None:
        """Wait until the server drains: then streams end."""
        await self._draining.wait()


def _decrement(counts: dict[str, int], user_id: str) -> None:
    """Count one less; a user without any is not kept."""
    if counts[user_id] == 1:
        del counts[user_id]
    else:
        counts[user_id] -= 1
