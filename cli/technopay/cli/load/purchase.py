"""One purchase: the steps of every flow."""

from __future__ import annotations

import asyncio

from technopay.cli.load.fixtures import AMOUNT, CURRENCY, OPEN_FOR_S, Fixtures, VirtualUser
from technopay.cli.load.timed_client import Headers, Reply

FINAL_WAIT_S = 60.0
WAIT_S = 10


class Rejected(Exception):
    """Raised when the server did not take a request; that is its right under too much load."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class UnexpectedResult(Exception):
    """Raised when a reply is not the one that the flow has to get."""

    def __init__(self, problem: str, reply: Reply, *, invariant: str | None = None) -> None:
        super().__init__(problem)
        self.reply = reply
        self.invariant = invariant
        """The name of the invariant that the reply itself breaks, if it does."""


class Purchase:
    """A purchase by one user. Its first request counts from when the purchase was due."""

    def __init__(self, fixtures: Fixtures, user: VirtualUser, due_s: float) -> None:
        self._fixtures = fixtures
        self._timed = fixtures.timed
        self._shop = fixtures.next_shop()
        self._due_s: float | None = due_s
        self._expires_at = ""
        self.user = user
        self.is_slow = False
        """Whether the flow is slow on purpose: its latency means nothing."""

    async def invoice(
        self, merchant: str = "Load test", *, open_for_s: float = OPEN_FOR_S, key: str | None = None
    ) -> Reply:
        """Make an invoice, as a shop does; each call sends the same body."""
        self._expires_at = self._expires_at or self._fixtures.expires_at(open_for_s)
        body = {
            "user_id": self.user.user_id,
            "amount": AMOUNT,
            "currency": CURRENCY,
            "merchant": merchant,
            "expires_at": self._expires_at,
        }
        due_s, self._due_s = self._due_s, None
        headers = _with_key(self._shop, key)
        return await self._timed.send("invoice", "POST", "/v1/admin/invoices", headers, body, due_s=due_s)

    async def start(self, invoice: Reply, *, key: str | None = None) -> Reply:
        body = {"invoice_id": invoice.body["id"], "wallet_id": self.user.wallet_id}
        headers = _with_key(self.user.headers, key)
        return await self._timed.send("start", "POST", "/v1/payments", headers, body)

    async def code(self, payment: Reply) -> str:
        """Wait for the code of a payment."""
        began_s = asyncio.get_running_loop().time()
        code = await self.user.inbox.read_code(payment.body["id"])
        if code is None:
            raise Rejected(Reply(0, "no_code_came", {}))
        self._timed.wait("code", began_s)
        return code

    async def confirm(self, payment: Reply, code: str, *, is_slow: bool = False) -> Reply:
        operation = "confirm_slow" if is_slow else "confirm"
        return await self._timed.confirm(operation, payment.body["id"], self.user.headers, {"code": code})

    async def read(self, payment: Reply) -> Reply:
        path = f"/v1/payments/{payment.body['id']}"
        return await self._timed.send("look", "GET", path, self.user.headers)

    async def wait_until_final(self, payment: Reply) -> Reply:
        path = f"/v1/payments/{payment.body['id']}?wait={WAIT_S}"
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + FINAL_WAIT_S
        while payment.code == "processing" and loop.time() < give_up_s:
            payment = await self._timed.send("wait", "GET", path, self.user.headers)
        return payment


def expect(reply: Reply, status: int, code: str) -> Reply:
    """Return the reply if it has this status and code.

    Raises:
        Rejected, UnexpectedResult.

    """
    if (reply.status, reply.code) == (status, code):
        return reply
    if reply.is_rejected:
        raise Rejected(reply)
    invariant = "refused_is_refused" if status >= 400 and 200 <= reply.status < 300 else None
    problem = f"{reply.status} {reply.code} instead of {status} {code}"
    raise UnexpectedResult(problem, reply, invariant=invariant)


def expect_same(one: Reply, other: Reply, *names: str) -> None:
    """Raise UnexpectedResult if two replies differ in one of these fields."""
    for name in names:
        if one.body.get(name) != other.body.get(name):
            raise UnexpectedResult(f"two replies with different {name}", other)


def _with_key(headers: Headers, key: str | None) -> Headers:
    return headers if key is None else {**headers, "Idempotency-Key": key}
