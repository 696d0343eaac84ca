"""The requests to the settlement service about one payment, until there is a verdict.

A debit is given back only on 'declined' or 'called_off'. Silence, an error and 'not found' decide nothing,
because an earlier request may still be on its way.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from technopay.engine.claims import CLAIM_S, Claim
from technopay.engine.deadlines import Deadlines
from technopay.engine.ports import Clock, SettlementService
from technopay.engine.settings import EngineSettings
from technopay.engine.tracing import Tracing
from technopay.engine.values import Claimed, PaymentTerms, Verdict

logger = logging.getLogger(__name__)

Meaning = TypeVar("Meaning")

SETTLE: Mapping[str, Verdict] = {"settled": "settled", "declined": "given_back"}
STATUS: Mapping[str, Verdict | Literal["not_found"]] = {
    "settled": "settled",
    "declined": "given_back",
    "called_off": "given_back",
    "not_found": "not_found",
}
CALL_OFF: Mapping[str, Verdict] = {
    "called_off": "given_back",
    "already_settled": "settled",
    "already_declined": "given_back",
}
REVERSE: Mapping[str, Verdict] = {"reversed": "reversed", "declined": "refund_failed"}
"""The replies to each request that decide; any other one, 'pending' included, is unknown."""
REVERSE_BACKOFF_S_MAX = 5.0


class ClaimLostError(Exception):
    """Raised when another process has taken over the payment."""


class SilenceError(Exception):
    """Raised when the settlement service has not replied for too long."""


class SettlementProtocol:
    """The requests about one payment, under its claim."""

    def __init__(
        self,
        service: SettlementService,
        clock: Clock,
        settings: EngineSettings,
        deadlines: Deadlines,
        claimed: Claimed,
        claim: Claim,
        tracing: Tracing | None = None,
    ) -> None:
        self._service = service
        self._clock = clock
        self._settings = settings
        self._deadlines = deadlines
        self._payment_id = claimed.payment.id
        self._claim = claim
        self._tracing = tracing
        self._replied_at = clock.monotonic()
        self._refund = claimed.refund
        payment = claimed.payment
        self._terms = PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)

    async def decide(self) -> Verdict:
        """Settle; on an unknown reply read the status; on 'not found' settle again; at last call off."""
        backoff_s = self._settings.settlement_backoff_s
        for attempt in range(self._settings.settlement_attempts):
            if attempt:
                await self._clock.sleep(backoff_s * 2 ** (attempt - 1))
            verdict = await self._send(SETTLE, self._service.settle, self._terms) or await self._inquire()
            if verdict:
                return verdict
        give_up_at = self._clock.monotonic() + self._settings.settlement_silence_s
        while self._clock.monotonic() < give_up_at:
            verdict = await self._send(CALL_OFF, self._service.call_off, self._terms) or await self._inquire()
            if verdict:
                return verdict
            await self._clock.sleep(backoff_s)
        raise SilenceError  # it cannot call off: an operator has to decide

    async def reverse(self) -> Verdict:
        """Reverse a settlement; repeat the request until there is a verdict."""
        backoff_s = self._settings.settlement_backoff_s
        while not (verdict := await self._send(REVERSE, self._service.reverse, self._terms, self._refund)):
            await self._clock.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, REVERSE_BACKOFF_S_MAX)
        return verdict

    async def _inquire(self) -> Verdict | None:
        """Read the status until it is known; return None if the service does not know the payment."""
        while True:
            status = await self._send(STATUS, self._service.status, self._terms)
            if status:
                return None if status == "not_found" else status
            await self._clock.sleep(self._settings.settlement_backoff_s)

    async def _send(
        self, meanings: Mapping[str, Meaning], request: Callable[..., Awaitable[Any]], *terms: Any
    ) -> Meaning | None:
        """Send one request under a live claim; return None if the reply is unknown."""
        now = self._clock.monotonic()
        if self._claim.is_lost:
            raise ClaimLostError
        if now - self._replied_at >= self._settings.settlement_silence_s:
            raise SilenceError
        self._claim.work_ends_at = now + self._settings.settlement_timeout_s + CLAIM_S["payment"]
        if self._tracing is not None:
            request = self._tracing.call(request)
        try:
            with self._deadlines.begin():
                reply = await request(*terms)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            # An error decides nothing: a service that only fails counts as silent, too.
            about = {"payment_id": self._payment_id}
            logger.info("settlement service, payment %s: no reply (%r)", self._payment_id, error, extra=about)
            return None
        meaning = meanings.get(reply) if isinstance(reply, str) else None
        # An unknown reply must not delay setting the payment aside.
        if meaning:
            self._replied_at = self._clock.monotonic()
        return meaning
