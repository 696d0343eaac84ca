"""Calls that wait until a payment changes."""

import asyncio

from technopay.engine.deadlines import Deadlines
from technopay.engine.models import Payment

WAIT_INTERVAL_S = 0.5

Waiter = asyncio.Future[Payment | None]


class Waiters:
    """Calls that wait for changes of payments by this process."""

    def __init__(self) -> None:
        self._by_payment: dict[str, set[Waiter]] = {}
        self._deadlines = Deadlines(WAIT_INTERVAL_S)

    def count(self, payment_id: str) -> int:
        return len(self._by_payment.get(payment_id, ()))

    def announce(self, payment: Payment) -> None:
        """End the waits for a payment."""
        for waiter in self._by_payment.pop(payment.id, ()):
            _end(waiter, payment)

    async def next_change(self, payment_id: str, wait_s: float) -> Payment | None:
        """Wait for a change, at most WAIT_INTERVAL_S; return None if there was none in time."""
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._by_payment.setdefault(payment_id, set()).add(waiter)
        timer = loop.call_later(wait_s, _end, waiter, None) if wait_s < WAIT_INTERVAL_S else None
        try:
            with self._deadlines.begin():
                return await waiter
        except TimeoutError:
            return None
        finally:
            if timer:
                timer.cancel()
            waiters = self._by_payment.get(payment_id)
            if waiters:
                waiters.discard(waiter)
                if not waiters:
                    del self._by_payment[payment_id]


def _end(waiter: Waiter, payment: Payment | None) -> None:
    if not waiter.done():
        waiter.set_result(payment)
