"""One purchase on its way: the steps of which stories are made."""

from __future__ import annotations

import asyncio
from typing import Any

from technopay.cli.load.scene import AMOUNT, CURRENCY, OPEN_FOR_S, Scene, Shopper
from technopay.cli.load.wire import Reply

FINAL_WAIT_S = 60.0
WAIT_S = 10


class TurnedAwayError(Exception):
    """Raised when the server did not take a request; that is its right under too much load."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class SurpriseError(Exception):
    """Raised when an answer is not what it has to be."""

    def __init__(self, what: str, reply: Reply, *, invariant: str | None = None) -> None:
        super().__init__(what)
        self.reply = reply
        self.invariant = invariant
        """The name of the invariant that the answer breaks in itself, if it does."""


class Purchase:
    """A purchase by one user. The first request counts from when the purchase should have begun."""

    def __init__(self, scene: Scene, shopper: Shopper, due_s: float) -> None:
        self._scene = scene
        self._wire = scene.wire
        self._shop = scene.next_shop()
        self._due_s: float | None = due_s
        self._expires_at = ""
        self.shopper = shopper
        self.is_slow = False
        """Whether the story takes its time on purpose, so that its latency says nothing."""

    async def invoice(
        self,
        merchant: str = "Load test",
        *,
        amount: int = AMOUNT,
        open_for_s: float = OPEN_FOR_S,
        key: str | None = None,
    ) -> Reply:
        """Make an invoice, as a shop does; the same again if it is asked for again."""
        headers = self._shop if key is None else {**self._shop, "Idempotency-Key": key}
        self._expires_at = self._expires_at or self._scene.expires_at(open_for_s)
        body = {
            "user_id": self.shopper.user_id,
            "amount": amount,
            "currency": CURRENCY,
            "merchant": merchant,
            "expires_at": self._expires_at,
        }
        due_s, self._due_s = self._due_s, None
        return await self._wire.ask("invoice", "POST", "/v1/admin/invoices", headers, body, due_s=due_s)

    async def start(self, invoice: Reply, *, key: str | None = None) -> Reply:
        """Start to pay an invoice."""
        headers = self.shopper.headers if key is None else {**self.shopper.headers, "Idempotency-Key": key}
        body = {"invoice_id": _id(invoice), "wallet_id": self.shopper.wallet_id}
        return await self._wire.ask("start", "POST", "/v1/payments", headers, body)

    async def code(self, payment: Reply) -> str:
        """Wait for the code of a payment."""
        began_s = asyncio.get_running_loop().time()
        code = await self.shopper.inbox.read_code(_id(payment))
        if code is None:
            raise TurnedAwayError(Reply(0, "no_code_came", {}))
        self._scene.wire.waited("code", began_s)
        return code

    async def confirm(self, payment: Reply, code: str, *, is_slow: bool = False) -> Reply:
        """Confirm a payment."""
        operation = "confirm_slow" if is_slow else "confirm"
        return await self._wire.confirm(operation, _id(payment), self.shopper.headers, {"code": code})

    async def look(self, payment: Reply) -> Reply:
        """Read a payment."""
        return await self._wire.ask("look", "GET", f"/v1/payments/{_id(payment)}", self.shopper.headers)

    async def final(self, payment: Reply) -> Reply:
        """Wait until a payment is final."""
        path = f"/v1/payments/{_id(payment)}?wait={WAIT_S}"
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + FINAL_WAIT_S
        while payment.code == "processing" and loop.time() < give_up_s:
            payment = await self._wire.ask("wait", "GET", path, self.shopper.headers)
        return payment


def expect(reply: Reply, status: int, code: str) -> Reply:
    """Answer what was answered, if it is what it has to be.

    Raises:
        TurnedAwayError, SurpriseError.

    """
    if (reply.status, reply.code) == (status, code):
        return reply
    if reply.is_turned_away:
        raise TurnedAwayError(reply)
    invariant = "refused_is_refused" if status >= 400 and 200 <= reply.status < 300 else None
    raise SurpriseError(f"{reply.status} {reply.code} instead of {status} {code}", reply, invariant=invariant)


def expect_same(one: Reply, other: Reply, *names: str) -> None:
    """Check that two answers tell the same.

    Raises:
        SurpriseError: they do not.

    """
    for name in names:
        if one.body.get(name) != other.body.get(name):
            raise SurpriseError(f"two answers with different {name}", other)


def _id(reply: Reply) -> Any:
    return reply.body["id"]
