"""Settlement: a saga that ends every debit, by settling it or by giving it back, and every refund.

It runs beside the actors. Its rule: give back only on 'declined' or 'called_off'. Silence, an error and
'not found' are no answer, because a request of ours may still be on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from technopay.engine.commands import CompletePayment
from technopay.engine.deadlines import Deadlines
from technopay.engine.directory import Directory
from technopay.engine.errors import TechnopayError
from technopay.engine.models import Payment
from technopay.engine.ports import Claimed, Clock, PaymentTerms, RefundTerms, SettlementService, Store, Verdict
from technopay.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

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
"""What each question can be answered; anything else ('pending' included) tells nothing."""
REVERSE_BACKOFF_S_MAX = 5.0


class ClaimLostError(Exception):
    """Raised when another process took the payment over: it finishes the work, we change nothing."""


class SilenceError(Exception):
    """Raised when the settlement service has not answered anything for too long."""


class Settlements:
    """Runs the settlements and refunds that this process claimed."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        service: SettlementService,
        clock: Clock,
        settings: EngineSettings,
        on_change: Callable[[Payment], None],
    ) -> None:
        self._store = store
        self._directory = directory
        self._service = service
        self._clock = clock
        self._settings = settings
        self._on_change = on_change
        self._deadlines = Deadlines(settings.settlement_timeout_s)
        self._running: dict[str, asyncio.Task[None]] = {}
        self.set_aside = 0
        """How many payments wait for an operator, as the agenda told last."""

    @property
    def in_flight(self) -> int:
        """How many run now."""
        return len(self._running)

    def begin(self, claimed: Claimed) -> None:
        """Begin a settlement or a refund; one too many stays on the agenda, where it is found again."""
        payment_id = claimed.payment.id
        if len(self._running) >= self._settings.settlements_max or payment_id in self._running:
            return
        task = asyncio.get_running_loop().create_task(self._finish(claimed))
        self._running[payment_id] = task
        task.add_done_callback(lambda _: self._running.pop(payment_id, None))

    async def drain(self, drain_s: float) -> None:
        """Wait for what runs; give up the claims of what takes longer, so that nobody waits for them."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _finish(self, claimed: Claimed) -> None:
        payment, claim = claimed.payment, claimed.claim
        dialogue = Dialogue(self._store, self._service, self._clock, self._settings, self._deadlines, claimed)
        try:
            verdict = await (dialogue.reverse() if payment.status == "refunding" else dialogue.decide())
            completion = CompletePayment(payment.id, claim, verdict)
            outcome = await self._directory.complete(payment.id, completion)
            if outcome.value is not None:
                self._on_change(outcome.value)
        except ClaimLostError:
            logger.info("another process finishes payment %s", payment.id, extra=_about(payment))
        except SilenceError:
            await self._set_aside(payment, claim)
        except asyncio.CancelledError:
            await self._store.renew_claim(payment.id, claim, 0, set_aside=False)
            raise
        except TechnopayError as error:
            # The claim runs out and the agenda hands the payment out again.
            logger.warning(
                "payment %s is left to the agenda: %s", payment.id, error.code, extra=_about(payment)
            )
        except Exception:
            about = _about(payment)
            logger.exception("the settlement of %s crashed; the agenda has it", payment.id, extra=about)

    async def _set_aside(self, payment: Payment, claim: str) -> None:
        interval_ms = round(self._settings.set_aside_interval_s * 1000)
        if await self._store.renew_claim(payment.id, claim, interval_ms, set_aside=True):
            about = _about(payment)
            logger.warning("payment %s is set aside: the service is silent", payment.id, extra=about)
            outcome = await self._store.read_payment(payment.id, None)
            if outcome.value is not None:
                self._on_change(outcome.value)


def _about(payment: Payment) -> dict[str, str]:
    """Answer the ids that a line of the log is about."""
    return {"payment_id": payment.id, "wallet_id": payment.wallet_id}


class Dialogue:
    """What is said to the settlement service about one payment, until it is decided."""

    def __init__(
        self,
        store: Store,
        service: SettlementService,
        clock: Clock,
        settings: EngineSettings,
        deadlines: Deadlines,
        claimed: Claimed,
    ) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._settings = settings
        self._deadlines = deadlines
        self._payment_id = claimed.payment.id
        self._claim = claimed.claim
        self._claimed_at = clock.monotonic()
        self._heard_at = self._claimed_at
        payment = claimed.payment
        self._terms = PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)
        self._refund = RefundTerms(claimed.refund_id, payment.amount)

    async def decide(self) -> Verdict:
        """Settle; on trouble ask; on 'not found' send again, a bounded number of times; then call off."""
        backoff_s = self._settings.settlement_backoff_s
        for attempt in range(self._settings.settlement_attempts):
            if attempt:
                await self._clock.sleep(backoff_s * 2 ** (attempt - 1))
            verdict = await self._ask(SETTLE, self._service.settle, self._terms) or await self._inquire()
            if verdict:
                return verdict
        give_up_at = self._clock.monotonic() + self._settings.settlement_silence_s
        while self._clock.monotonic() < give_up_at:
            verdict = await self._ask(CALL_OFF, self._service.call_off, self._terms) or await self._inquire()
            if verdict:
                return verdict
            await self._clock.sleep(backoff_s)
        raise SilenceError  # it cannot call off: an operator has to decide

    async def reverse(self) -> Verdict:
        """Undo a settlement; ask until it is answered."""
        backoff_s = self._settings.settlement_backoff_s
        while not (verdict := await self._ask(REVERSE, self._service.reverse, self._terms, self._refund)):
            await self._clock.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, REVERSE_BACKOFF_S_MAX)
        return verdict

    async def _inquire(self) -> Verdict | None:
        """Ask for the status until there is an answer; None when the service knows nothing of the payment."""
        while True:
            answer = await self._ask(STATUS, self._service.status, self._terms)
            if answer:
                return None if answer == "not_found" else answer
            await self._clock.sleep(self._settings.settlement_backoff_s)

    async def _ask(
        self, answers: Mapping[str, Answer], question: Callable[..., Awaitable[Any]], *terms: Any
    ) -> Answer | None:
        """Ask one question under a live claim; None when the answer is unknown."""
        if self._clock.monotonic() - self._heard_at >= self._settings.settlement_silence_s:
            raise SilenceError
        await self._keep_claim()
        try:
            with self._deadlines.begin():
                answer = await question(*terms)
        except Exception as error:
            # An error is no answer: a service that only fails is as silent as one that only times out.
            about = {"payment_id": self._payment_id}
            logger.info("settlement service, payment %s: no answer (%r)", self._payment_id, error, extra=about)
            return None
        meaning = answers.get(answer) if isinstance(answer, str) else None
        # An answer that tells nothing must not keep a payment from being set aside.
        if meaning:
            self._heard_at = self._clock.monotonic()
        return meaning

    async def _keep_claim(self) -> None:
        """Renew a claim that a call could outlast."""
        age_s = self._clock.monotonic() - self._claimed_at
        if age_s < self._settings.claim_s - 2 * self._settings.settlement_timeout_s:
            return
        claim_ms = round(self._settings.claim_s * 1000)
        if not await self._store.renew_claim(self._payment_id, self._claim, claim_ms, set_aside=False):
            raise ClaimLostError
        self._claimed_at = self._clock.monotonic()
