"""Settlement: a saga that ends every debit, by settling it or by giving it back, and every refund.

It runs beside the actors. A completion goes directly to the store and needs the claim only: neither a full
mailbox nor a wallet's lease can block it.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from technopay.engine import tracing
from technopay.engine.claims import Claim, Claims
from technopay.engine.commands import CompletePayment, SetAside
from technopay.engine.deadlines import Deadlines
from technopay.engine.errors import TechnopayError
from technopay.engine.fields import partition_in
from technopay.engine.models import Payment
from technopay.engine.ports import Clock, SettlementService, Store
from technopay.engine.reads import FindPayment
from technopay.engine.settings import EngineSettings
from technopay.engine.settlement.protocol import ClaimLostError, SettlementProtocol, SilenceError
from technopay.engine.values import Claimed

logger = logging.getLogger(__name__)


class Running(NamedTuple):
    claimed: Claimed
    claim: Claim
    task: asyncio.Task[None]


class Settlements:
    """Runs the settlements and refunds of this process."""

    def __init__(
        self,
        store: Store,
        service: SettlementService,
        clock: Clock,
        claims: Claims,
        settings: EngineSettings,
        on_change: Callable[[Payment], None],
    ) -> None:
        self._store = store
        self._claims = claims
        self._service = service
        self._clock = clock
        self._settings = settings
        self._on_change = on_change
        self._deadlines = Deadlines(settings.settlement_timeout_s)
        self._tracing = tracing.active()
        self._finish = self._complete_traced if self._tracing else self._complete
        self._running: dict[str, Running] = {}

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def begin(self, claimed: Claimed, since: float) -> None:
        """Begin a settlement or a refund, claimed `since`; one beyond the bound stays on the agenda."""
        payment_id = claimed.payment.id
        running = self._running.get(payment_id)
        if running and not running.claim.is_lost:
            _take_over(running, claimed)
            return
        if not running and len(self._running) >= self._settings.settlements_max:
            return
        claim = self._claims.hold("payment", partition_in(payment_id), payment_id, claimed.claim, since)
        task = asyncio.get_running_loop().create_task(self._finish(claimed, claim))
        begun = self._running[payment_id] = Running(claimed, claim, task)

        def end(task: asyncio.Task[None]) -> None:
            if self._running.get(payment_id) is begun:
                del self._running[payment_id]
            if not task.cancelled():
                self._claims.release(claim)

        task.add_done_callback(end)

    async def drain(self, drain_s: float) -> None:
        """Wait for running work; give up the claims of the rest, so that other processes can take it over."""
        if self._running:
            _, late = await asyncio.wait([each.task for each in self._running.values()], timeout=drain_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=drain_s)
            await self._claims.give_up("payment")

    async def _complete_traced(self, claimed: Claimed, claim: Claim) -> None:
        assert self._tracing is not None
        with self._tracing.payment("settlement", claimed.payment.id):
            await self._complete(claimed, claim)

    async def _complete(self, claimed: Claimed, claim: Claim) -> None:
        payment = claimed.payment
        protocol = SettlementProtocol(
            self._service, self._clock, self._settings, self._deadlines, claimed, claim, self._tracing
        )
        try:
            verdict = await (protocol.reverse() if payment.status == "refunding" else protocol.decide())
            self._claims.release(claim)
            completion = CompletePayment(payment.id, claim.token, verdict)
            outcome = await self._store.run(completion)
            if outcome.code != "ok":
                self._claims.lose(claim)
            else:
                # A settled payment is not read again: only three fields change.
                self._on_change(outcome.value or _settled(payment, outcome.details["settled_at"]))
        except ClaimLostError:
            pass  # it was logged and counted
        except SilenceError:
            await self._set_aside(payment, claim)
        except asyncio.CancelledError:
            self._claims.keep(claim)
            raise
        except TechnopayError as error:
            # The claim expires and the agenda returns the payment again.
            logger.warning("payment %s stays on the agenda: %s", payment.id, error.code, extra=_about(payment))
        except Exception:
            about = _about(payment)
            logger.exception("the settlement of %s failed; it stays on the agenda", payment.id, extra=about)

    async def _set_aside(self, payment: Payment, claim: Claim) -> None:
        self._claims.release(claim)
        interval_ms = round(self._settings.set_aside_interval_s * 1000)
        if (await self._store.run(SetAside(payment.id, claim.token, interval_ms))).code != "ok":
            self._claims.lose(claim)
        else:
            about = _about(payment)
            logger.warning("payment %s is set aside: the service is silent", payment.id, extra=about)
            outcome = await self._store.run(FindPayment(payment.id))
            if outcome.value is not None:
                self._on_change(outcome.value)


def _settled(payment: Payment, settled_at: datetime) -> Payment:
    values = payment.__dict__ | {"status": "succeeded", "settled_at": settled_at, "set_aside": False}
    return type(payment).trusted(**values)


def _about(payment: Payment) -> dict[str, str]:
    return {"payment_id": payment.id, "wallet_id": payment.wallet_id}


def _take_over(running: Running, claimed: Claimed) -> None:
    """Go on under the newer claim: the former one had expired."""
    before, after = running.claimed, claimed
    is_same = before.payment.status == after.payment.status and (
        before.payment.status == "processing" or before.refund == after.refund
    )
    if is_same and int(after.claim) > int(running.claim.token):
        running.claim.token = after.claim
