"""Which requests are let in: not more at a time than bounded, and none while the server drains."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from technopay.engine import EngineClosed, Overloaded


class Admission:
    """Counts the requests that are under way."""

    def __init__(self, requests_max: int) -> None:
        self._requests_max = requests_max
        self._running = 0
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

    def enter(self) -> None:
        """Let a request in; whoever is let in has to leave.

        Raises:
            EngineClosed: the server drains.
            Overloaded: as many as may be are under way.

        """
        if self._draining.is_set():
            raise EngineClosed("The server drains. Nothing happened.")
        if self._running >= self._requests_max:
            raise Overloaded("As many requests as may be are under way. Nothing happened; try again.")
        self._running += 1
        self._quiet.clear()

    def leave(self) -> None:
        """Count a request out."""
        self._running -= 1
        if not self._running:
            self._quiet.set()

    async def drain(self, within_s: float) -> None:
        """Take no new work and let what runs finish, but do not wait longer than this."""
        self._draining.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), within_s)

    async def wait_until_draining(self) -> None:
        """Wait until the server drains: what has no end of its own ends then."""
        await self._draining.wait()
