"""Calls that wait until a payment changes."""

from __future__ import annotations

import asyncio

from technopay.engine.models import Payment

WATCH_INTERVAL_S = 0.5

Watcher = asyncio.Future[Payment | None]


class Watchers:
    """Waits for changes of payments that this process makes.

    One timer serves all of them: one for each wait, which hardly ever runs out, costs more than the wait.
    """

    def __init__(self) -> None:
        self._by_payment: dict[str, set[Watcher]] = {}
        # Those that began since the timer was set, and those before: only these have waited long enough.
        self._young: set[Watcher] = set()
        self._old: set[Watcher] = set()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, payment_id: str) -> int:
        """Return how many calls wait for a payment."""
        return len(self._by_payment.get(payment_id, ()))

    def announce(self, payment: Payment) -> None:
        """End the waits for a payment."""
        for watcher in self._by_payment.pop(payment.id, ()):
            _end(watcher, payment)

    async def next_change(self, payment_id: str, wait_s: float) -> Payment | None:
        """Wait for a change; None when there was none in time, or for WATCH_INTERVAL_S at most."""
        loop = asyncio.get_running_loop()
        watcher: Watcher = loop.create_future()
        self._by_payment.setdefault(payment_id, set()).add(watcher)
        own_timer = None
        if wait_s < WATCH_INTERVAL_S:
            own_timer = loop.call_later(wait_s, _end, watcher, None)
        else:
            self._young.add(watcher)
            if self._timer is None:
                self._timer = loop.call_later(WATCH_INTERVAL_S / 2, self._end_old)
        try:
            return await watcher
        finally:
            if own_timer:
                own_timer.cancel()
            self._young.discard(watcher)
            self._old.discard(watcher)
            watchers = self._by_payment.get(payment_id)
            if watchers:
                watchers.discard(watcher)
                if not watchers:
                    del self._by_payment[payment_id]

    def _end_old(self) -> None:
        for watcher in self._old:
            _end(watcher, None)
        self._old, self._young = self._young, set()
        self._timer = None
        if self._old:
            self._timer = asyncio.get_running_loop().call_later(WATCH_INTERVAL_S / 2, self._end_old)


def _end(watcher: Watcher, payment: Payment | None) -> None:
    if not watcher.done():
        watcher.set_result(payment)
