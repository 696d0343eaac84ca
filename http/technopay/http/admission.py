"""Which requests are let in: not more at a time than bounded, fewer under pressure, none while draining."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from technopay.engine import Overloaded, RateLimited
from technopay.http.pressure import LOOK_EVERY_S, Pressure

KEPT_FOR_FINISHING = 0.25
"""The share of the places that what begins something new leaves free."""


class Admission:
    """Counts the requests that are under way."""

    def __init__(
        self,
        requests_max: int,
        requests_per_user_max: int = 64,
        waits_max: int = 512,
        waits_per_user_max: int = 8,
    ) -> None:
        self._pressure = Pressure(requests_max)
        self._requests_per_user_max = requests_per_user_max
        self._waits_max = waits_max
        self._waits_per_user_max = waits_per_user_max
        self._running = 0
        self._streams = 0
        self._waits = 0
        self._by_user: dict[str, int] = {}
        self._waits_by_user: dict[str, int] = {}
        self._draining = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def draining(self) -> bool:
        """Whether no new work is taken any more."""
        return self._draining.is_set()

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return self._running

    @property
    def allowed(self) -> int:
        """How many requests may be under way now."""
        return self._pressure.allowed

    async def watch_pressure(self) -> None:
        """Look how late the event loop is, until it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due_s = clock() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self._pressure.feel(clock() - due_s, self._running)

    def enter(self, *, begins: bool = False) -> None:
        """Let a request in; whoever is let in has to leave.

        What begins something new gets only a part of the places: what was begun is to be finished first.

        Raises:
            Overloaded: the server drains, or as many as may be are under way.

        """
        if self._draining.is_set():
            raise Overloaded("The server is about to end. Nothing happened; try again.")
        places = self._pressure.allowed
        if begins:
            places -= int(KEPT_FOR_FINISHING * places)
        if self._running >= places:
            raise Overloaded("As many requests as may be are under way. Nothing happened; try again.")
        self._running += 1
        self._quiet.clear()

    def leave(self) -> None:
        """Count a request out."""
        self._running -= 1
        self._look_for_quiet()

    def enter_for(self, user_id: str) -> None:
        """Let a request in for its user: nobody may take the place of all others. It has to leave, too.

        Raises:
            RateLimited: as many of the user's as may be are under way.

        """
        running = self._by_user.get(user_id, 0)
        if running >= self._requests_per_user_max:
            raise RateLimited("As many requests of this user as may be are under way.", retry_after_s=1.0)
        self._by_user[user_id] = running + 1

    def leave_for(self, user_id: str) -> None:
        """Count a request of a user out."""
        _take_one(self._by_user, user_id)

    @contextmanager
    def as_stream(self) -> Iterator[None]:
        """Count a request as a stream: it takes no other's place, but a drain waits for it."""
        self._running -= 1
        self._streams += 1
        try:
            yield
        finally:
            self._running += 1
            self._streams -= 1

    def begin_wait(self, user_id: str) -> bool:
        """Count a request as a wait, if one more may be; return whether it has to end one.

        It takes no place of others, of its user neither; a drain waits for it.
        """
        waits = self._waits_by_user.get(user_id, 0)
        if self._waits >= self._waits_max or waits >= self._waits_per_user_max:
            return False
        self._waits += 1
        self._waits_by_user[user_id] = waits + 1
        self.leave_for(user_id)
        self._running -= 1
        return True

    def end_wait(self, user_id: str) -> None:
        """Count a request as one that is under way again."""
        self._waits -= 1
        _take_one(self._waits_by_user, user_id)
        self._by_user[user_id] = self._by_user.get(user_id, 0) + 1
        self._running += 1

    def _look_for_quiet(self) -> None:
        if not self._running and not self._streams and not self._waits:
            self._quiet.set()

    async def drain(self, within_s: float) -> None:
        """Take no new work and let what runs finish, but do not wait longer than this."""
        self._draining.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), within_s)

    async def wait_until_draining(self) -> None:
        """Wait until the server drains: what has no end of its own ends then."""
        await self._draining.wait()


def _take_one(counts: dict[str, int], user_id: str) -> None:
    """Count one less; a user with none left is not kept."""
    if counts[user_id] == 1:
        del counts[user_id]
    else:
        counts[user_id] -= 1
