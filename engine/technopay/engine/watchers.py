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
        elif self._timer is None:
            self._timer = loop.call_later(WATCH_INTERVAL_S, self._end_all)
        try:
            return await watcher
        finally:
            if own_timer:
                own_timer.cancel()
            watchers = self._by_payment.get(payment_id)
            if watchers:
                watchers.discard(watcher)
                if not watchers:
                    del self._by_payment[payment_id]

    def _end_all(self) -> None:
        self._timer = None
        for watchers in self._by_payment.values():
            for watcher in watchers:
                _end(watcher, None)


def _end(watcher: Watcher, payment: Payment | None) -> None:
    if not watcher.done():
        watcher.set_result(payment)
