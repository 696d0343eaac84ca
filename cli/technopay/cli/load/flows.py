"""The flows of purchases, each with its expected result, and the scenarios: mixtures of flows."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from technopay.cli.load.fixtures import AMOUNT, CURRENCY, OPEN_FOR_S, Fixtures, VirtualUser
from technopay.cli.load.plan import ScenarioName
from technopay.cli.load.timed_client import Headers, Reply

EXPIRES_IN_S = 2.0
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
        self._shop = next(fixtures.shops)
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
    """Return the reply if it has this status and code, else raise Rejected or UnexpectedResult."""
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


Flow = Callable[[Purchase], Awaitable[Reply]]
"""Makes a purchase and returns its last reply; raises Rejected or UnexpectedResult."""


async def pay(purchase: Purchase) -> Reply:
    """Pay an invoice."""
    payment = await _started(purchase)
    return await _paid(purchase, await purchase.confirm(payment, await purchase.code(payment)))


async def pay_within_limit(purchase: Purchase) -> Reply:
    """Pay an invoice, or get a refusal by the limit: at the start, or at the confirm."""
    invoice = expect(await purchase.invoice(), 201, "open")
    payment = await purchase.start(invoice)
    if payment.code != "daily_limit_exceeded":
        expect(payment, 201, "requires_confirmation")
        payment = await purchase.confirm(payment, await purchase.code(payment))
    if payment.code == "daily_limit_exceeded":
        return expect(payment, 402, "daily_limit_exceeded")
    return await _paid(purchase, payment)


async def wrong_code(purchase: Purchase) -> Reply:
    """Give a wrong code, then the right one."""
    payment = await _started(purchase)
    code = await purchase.code(payment)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    refused = expect(await purchase.confirm(payment, wrong), 422, "confirmation_invalid")
    if refused.body["attempts_remaining"] != 4:
        raise UnexpectedResult("a wrong code did not cost one attempt", refused)
    return await _paid(purchase, await purchase.confirm(payment, code))


async def confirm_twice(purchase: Purchase) -> Reply:
    """Confirm twice at the same time: money moves once, and both replies say so."""
    payment = await _started(purchase)
    return await _confirm_twice(purchase, payment)


async def start_twice(purchase: Purchase) -> Reply:
    """Start twice at the same time: only the later payment is live, and only its code is accepted."""
    invoice = expect(await purchase.invoice(), 201, "open")
    started = await asyncio.gather(purchase.start(invoice), purchase.start(invoice))
    payments = [expect(reply, 201, "requires_confirmation") for reply in started]
    payments = [await purchase.read(payment) for payment in payments]
    payments.sort(key=lambda payment: payment.code)
    dead, live = expect(payments[0], 200, "canceled"), expect(payments[1], 200, "requires_confirmation")
    code = await purchase.code(live)
    refused, paid = await asyncio.gather(purchase.confirm(dead, code), purchase.confirm(live, code))
    expect(refused, 409, "payment_not_confirmable")
    return await _paid(purchase, paid)


async def send_everything_twice(purchase: Purchase) -> Reply:
    """Send every request twice at the same time, like a client without replies."""
    key = secrets.token_hex(8)
    one, other = await asyncio.gather(purchase.invoice(key=key), purchase.invoice(key=key))
    expect_same(expect(one, 201, "open"), expect(other, 201, "open"), "id")
    first, again = await asyncio.gather(purchase.start(one, key=key), purchase.start(one, key=key))
    expect(again, 201, "requires_confirmation")
    expect_same(expect(first, 201, "requires_confirmation"), again, "id", "created_at")
    return await _confirm_twice(purchase, first)


async def too_poor(purchase: Purchase) -> Reply:
    """Start a payment without the funds."""
    invoice = expect(await purchase.invoice(), 201, "open")
    refused = expect(await purchase.start(invoice), 402, "insufficient_funds")
    if (refused.body["required"], refused.body["available"]) != (AMOUNT, AMOUNT - 1):
        raise UnexpectedResult("insufficient_funds with wrong amounts", refused)
    return refused


async def blocked(purchase: Purchase) -> Reply:
    """Start a payment as a blocked user."""
    return expect(await purchase.start(expect(await purchase.invoice(), 201, "open")), 403, "user_blocked")


async def expired(purchase: Purchase) -> Reply:
    """Start a payment of an expired invoice."""
    purchase.is_slow = True
    reply = await purchase.invoice(open_for_s=EXPIRES_IN_S)
    if reply.code == "validation_failed":
        # The request arrived after the expiry.
        raise Rejected(reply)
    invoice = expect(reply, 201, "open")
    await asyncio.sleep(EXPIRES_IN_S + 0.1)
    return expect(await purchase.start(invoice), 410, "invoice_expired")


async def declined(purchase: Purchase) -> Reply:
    """Pay a merchant whose settlement is declined: the money comes back."""
    payment = await _started(purchase, "load-declines")
    reply = await purchase.confirm(payment, await purchase.code(payment))
    if reply.code == "processing":
        reply = await purchase.wait_until_final(reply)
        return expect(reply, 200, "failed")
    expect(reply, 402, "settlement_failed")
    if [refund["amount"] for refund in reply.body["payment"]["refunds"]] != [AMOUNT]:
        raise UnexpectedResult("a declined payment was not given back once", reply)
    return reply


async def slow(purchase: Purchase) -> Reply:
    """Pay a merchant whose settlement takes three seconds."""
    return await _pay_slowly(purchase, "load-slow")


async def lost(purchase: Purchase) -> Reply:
    """Pay a merchant whose settlement succeeds without a reply."""
    return await _pay_slowly(purchase, "load-lost")


async def _confirm_twice(purchase: Purchase, payment: Reply) -> Reply:
    code = await purchase.code(payment)
    one, other = await asyncio.gather(purchase.confirm(payment, code), purchase.confirm(payment, code))
    one, other = await _paid(purchase, one), await _paid(purchase, other)
    expect_same(one, other, "id", "paid_at", "balance_after")
    return one


async def _paid(purchase: Purchase, confirmed: Reply) -> Reply:
    """Return the succeeded payment; its settlement can take longer than the confirm waits."""
    if confirmed.code == "processing":
        confirmed = await purchase.wait_until_final(expect(confirmed, 202, "processing"))
    return expect(confirmed, 200, "succeeded")


async def _pay_slowly(purchase: Purchase, merchant: str) -> Reply:
    purchase.is_slow = True
    payment = await _started(purchase, merchant)
    return await _paid(purchase, await purchase.confirm(payment, await purchase.code(payment), is_slow=True))


async def _started(purchase: Purchase, merchant: str = "Load test") -> Reply:
    invoice = expect(await purchase.invoice(merchant), 201, "open")
    payment = expect(await purchase.start(invoice), 201, "requires_confirmation")
    if (payment.body["invoice_id"], payment.body["amount"]) != (invoice.body["id"], AMOUNT):
        raise UnexpectedResult("a payment of something else", payment, invariant="payment_is_of_its_invoice")
    return payment


@dataclass(frozen=True, slots=True)
class Scenario:
    """A mixture of flows, of a hundred purchases so many each."""

    flows: Mapping[Flow, int]
    tightens_limit: bool = False

    def pick(self, chance: random.Random) -> Flow:
        return chance.choices(list(self.flows), list(self.flows.values()))[0]


SCENARIOS = {
    ScenarioName.MIXED: Scenario(
        {
            pay: 58,
            wrong_code: 8,
            confirm_twice: 6,
            start_twice: 6,
            too_poor: 5,
            declined: 5,
            blocked: 3,
            expired: 3,
            slow: 3,
            lost: 3,
        }
    ),
    ScenarioName.PLAIN: Scenario({pay: 100}),
    ScenarioName.HOT_WALLET: Scenario({pay: 100}),
    ScenarioName.LIMIT_RACE: Scenario({pay_within_limit: 100}, tightens_limit=True),
    ScenarioName.DUPLICATES: Scenario({send_everything_twice: 100}),
}
