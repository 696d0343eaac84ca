"""Settlement: a saga that ends every debit, by settling it or by giving it back, and every refund.

It runs beside the actors. Its rule: give back only on 'declined' or 'called_off'. Silence, an error and
'not found' are no answer, because a request of ours may still be on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from technopay.engine.claims import CLAIM_S, Claim, Claims
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


class Running(NamedTuple):
    """A settlement or a refund that runs."""

    claimed: Claimed
    claim: Claim
    task: asyncio.Task[None]


class Settlements:
    """Runs the settlements and refunds that this process claimed."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        service: SettlementService,
        clock: Clock,
        claims: Claims,
        settings: EngineSettings,
        on_change: Callable[[Payment], None],
    ) -> None:
        self._store = store
        self._claims = claims
        self._directory = directory
        self._service = service
        self._clock = clock
        self._settings = settings
        self._on_change = on_change
        self._deadlines = Deadlines(settings.settlement_timeout_s)
        self._running: dict[str, Running] = {}
        self.set_aside = 0
        """How many payments wait for an operator, as the agenda told last."""

    @property
    def in_flight(self) -> int:
        """How many run now."""
        return len(self._running)

    def begin(self, claimed: Claimed) -> None:
        """Begin a settlement or a refund; one too many stays on the agenda, where it is found again."""
        payment_id = claimed.payment.id
        running = self._running.get(payment_id)
        if running and not running.claim.is_lost:
            _take_over(running, claimed)
            return
        if not running and len(self._running) >= self._settings.settlements_max:
            return
        claim = self._claims.hold("payment", payment_id, claimed.claim)
        task = asyncio.get_running_loop().create_task(self._finish(claimed, claim))
        begun = self._running[payment_id] = Running(claimed, claim, task)

        def end(task: asyncio.Task[None]) -> None:
            if self._running.get(payment_id) is begun:
                del self._running[payment_id]
            if not task.cancelled():
                self._claims.release(claim)

        task.add_done_callback(end)

    async def drain(self, drain_s: float) -> None:
        """Wait for what runs; give up the claims of what takes longer, so that nobody waits for them."""
        if self._running:
            _, late = await asyncio.wait([each.task for each in self._running.values()], timeout=drain_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=drain_s)
            await self._claims.give_up("payment")

    async def _finish(self, claimed: Claimed, claim: Claim) -> None:
        payment = claimed.payment
        dialogue = Dialogue(self._service, self._clock, self._settings, self._deadlines, claimed, claim)
        try:
            verdict = await (dialogue.reverse() if payment.status == "refunding" else dialogue.decide())
            self._claims.release(claim)
            completion = CompletePayment(payment.id, claim.token, verdict)
            outcome = await self._directory.complete(payment.id, completion)
            if outcome.value is not None:
                self._on_change(outcome.value)
            else:
                self._claims.lose(claim)
        except ClaimLostError:
            pass  # logged and counted where it was noticed
        except SilenceError:
            await self._set_aside(payment, claim)
        except asyncio.CancelledError:
            self._claims.keep(claim)
            raise
        except TechnopayError as error:
            # The claim runs out and the agenda hands the payment out again.
            logger.warning(
                "payment %s is left to the agenda: %s", payment.id, error.code, extra=_about(payment)
            )
        except Exception:
            about = _about(payment)
            logger.exception("the settlement of %s crashed; the agenda has it", payment.id, extra=about)

    async def _set_aside(self, payment: Payment, claim: Claim) -> None:
        self._claims.release(claim)
        interval_ms = round(self._settings.set_aside_interval_s * 1000)
        if not await self._store.set_aside(payment.id, claim.token, interval_ms):
            self._claims.lose(claim)
        else:
            about = _about(payment)
            logger.warning("payment %s is set aside: the service is silent", payment.id, extra=about)
            outcome = await self._store.read_payment(payment.id, None)
            if outcome.value is not None:
                self._on_change(outcome.value)


def _about(payment: Payment) -> dict[str, str]:
    """Answer the ids that a line of the log is about."""
    return {"payment_id": payment.id, "wallet_id": payment.wallet_id}


def _take_over(running: Running, claimed: Claimed) -> None:
    """Go on under the claim that was handed out because the one before had run out."""
    before, after = running.claimed, claimed
    is_same = before.payment.status == after.payment.status and (
        before.payment.status == "processing" or before.refund_id == after.refund_id
    )
    if is_same and int(after.claim) > int(running.claim.token):
        running.claim.token = after.claim


class Dialogue:
    """What is said to the settlement service about one payment, until it is decided."""

    def __init__(
        self,
        service: SettlementService,
        clock: Clock,
        settings: EngineSettings,
        deadlines: Deadlines,
        claimed: Claimed,
        claim: Claim,
    ) -> None:
        self._service = service
        self._clock = clock
        self._settings = settings
        self._deadlines = deadlines
        self._payment_id = claimed.payment.id
        self._claim = claim
        self._heard_at = clock.monotonic()
        self._refund_id = claimed.refund_id
        payment = claimed.payment
        self._terms = PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)

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
        refund = RefundTerms(self._refund_id, self._terms.amount)
        while not (verdict := await self._ask(REVERSE, self._service.reverse, self._terms, refund)):
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
        now = self._clock.monotonic()
        if self._claim.is_lost:
            raise ClaimLostError
        if now - self._heard_at >= self._settings.settlement_silence_s:
            raise SilenceError
        self._claim.work_ends_at = now + self._settings.settlement_timeout_s + CLAIM_S["payment"]
        try:
            with self._deadlines.begin():
                answer = await question(*terms)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            # An error is no answer: a service that only fails is as silent as one that only times out.
            about = {"payment_id": self._payment_id}
            logger.info("settlement service, payment %s: no answer (%r)", self._payment_id, error, extra=about)
            return None
        meaning = answers.get(answer) if isinstance(answer, str) else None
        # An answer that tells nothing must not keep a payment from being set aside.
        if meaning:
            self._heard_at = self._clock.monotonic()
        return meaning
