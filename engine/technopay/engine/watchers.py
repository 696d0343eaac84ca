"""Calls that wait until a payment changes."""

from __future__ import annotations

import asyncio

from technopay.engine.deadlines import Deadlines
from technopay.engine.models import Payment

WATCH_INTERVAL_S = 0.5

Watcher = asyncio.Future[Payment | None]


class Watchers:
    """Waits for changes of payments that this process makes."""

    def __init__(self) -> None:
        self._by_payment: dict[str, set[Watcher]] = {}
        self._deadlines = Deadlines(WATCH_INTERVAL_S)

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
        timer = loop.call_later(wait_s, _end, watcher, None) if wait_s < WATCH_INTERVAL_S else None
        try:
            with self._deadlines.begin():
                return await watcher
        except TimeoutError:
            return None
        finally:
            if timer:
                timer.cancel()
            watchers = self._by_payment.get(payment_id)
            if watchers:
                watchers.discard(watcher)
                if not watchers:
                    del self._by_payment[payment_id]


def _end(watcher: Watcher, payment: Payment | None) -> None:
    if not watcher.done():
        watcher.set_result(payment)
