"""What stands in for the parts around a unit of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from technopay.engine import Payment, Wallet
from technopay.engine.models import from_ms
from technopay.engine.ports import Lease, Outcome, Store

CREATED_AT_MS = 1_783_252_800_000
SLEEPS_MAX = 10_000


class ManualClock:
    """The engine's clock: it stands still, and a sleep is a step ahead."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        assert len(self.slept) < SLEEPS_MAX, "this goes on for ever"
        self.now += delay_s
        await asyncio.sleep(0)


class ScriptedCommand:
    """A command that answers what it was given, in order, and repeats the last; exceptions are raised.

    `before` runs first, each time. `leases` has what the actor brought.
    """

    def __init__(
        self, *answers: Outcome[Any] | BaseException, before: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._answers = list(answers) or [Outcome("ok")]
        self._before = before
        self.leases: list[Lease] = []

    @property
    def runs(self) -> int:
        return len(self.leases)

    async def run(self, store: Store, lease: Lease) -> Outcome[Payment] | Outcome[Wallet]:
        self.leases.append(lease)
        if self._before:
            await self._before()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def make_payment(**changes: Any) -> Payment:
    """Make a payment that is processing, unless something else is said."""
    fields: dict[str, Any] = {
        "id": "pay_001",
        "invoice_id": "inv_001",
        "wallet_id": "wal_001",
        "user_id": "alice",
        "amount": 1_234,
        "currency": "EUR",
        "merchant": "bookshop",
        "status": "processing",
        "created_at": from_ms(CREATED_AT_MS),
        "paid_at": None,
        "settled_at": None,
        "balance_before": None,
        "balance_after": None,
        "confirmation": None,
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [],
        "set_aside": False,
    }
    return Payment(**(fields | changes))


class ClaimingStore:
    """Of a store, what settlements need of it."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self._clock = clock
        self.claim = "1"
        self.renewed: list[tuple[float, int, bool]] = []
        self.completed: list[tuple[str, str, str]] = []
        self.error: Exception | None = None

    async def renew_claim(self, payment_id: str, claim: str, claim_ms: int, *, set_aside: bool) -> bool:
        now = self._clock.now if self._clock else 0
        self.renewed.append((now, claim_ms, set_aside))
        return claim == self.claim

    async def complete_payment(self, payment_id: str, claim: str, verdict: str) -> Outcome[Payment]:
        if self.error:
            raise self.error
        if claim != self.claim:
            return Outcome("fenced")
        self.completed.append((payment_id, claim, verdict))
        return Outcome("ok", make_payment(status="succeeded"))

    async def read_payment(self, payment_id: str, user_id: str | None) -> Outcome[Payment]:
        return Outcome("ok", make_payment(set_aside=True))
