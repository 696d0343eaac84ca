"""A settlement service behind HTTP: `settle`, `status`, `call_off` and `reverse` as signed requests."""

from typing import Any, Final, Literal

import aiohttp

from technopay.engine.values import PaymentTerms, RefundTerms
from technopay.http.services.signed_requests import SignedRequests

Settled = Literal["settled", "declined"]
Status = Literal["settled", "declined", "called_off", "pending", "not_found"]
CalledOff = Literal["called_off", "already_settled", "already_declined"]
Reversed = Literal["reversed", "declined"]

SETTLE: Final[tuple[Settled, ...]] = ("settled", "declined")
STATUS: Final[tuple[Status, ...]] = ("settled", "declined", "called_off", "pending", "not_found")
CALL_OFF: Final[tuple[CalledOff, ...]] = ("called_off", "already_settled", "already_declined")
REVERSE: Final[tuple[Reversed, ...]] = ("reversed", "declined")


class HttpSettlementService:
    """A `SettlementService`. An error means that the outcome is unknown."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        """Check the settings; no I/O. The session stays open.

        Raises:
            ValueError: the URL or the secret breaks a rule.

        """
        self._requests = SignedRequests(session, url, secret)

    async def settle(self, terms: PaymentTerms) -> Settled:
        return await self._requests.send("settle", terms.payment_id, terms._asdict(), SETTLE)

    async def status(self, terms: PaymentTerms) -> Status:
        return await self._requests.send("status", terms.payment_id, terms._asdict(), STATUS)

    async def call_off(self, terms: PaymentTerms) -> CalledOff:
        return await self._requests.send("call_off", terms.payment_id, terms._asdict(), CALL_OFF)

    async def reverse(self, terms: PaymentTerms, refund: RefundTerms) -> Reversed:
        body: dict[str, Any] = terms._asdict() | {"refund": refund._asdict()}
        return await self._requests.send("reverse", refund.id, body, REVERSE)
