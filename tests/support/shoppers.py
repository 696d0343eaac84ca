"""Clients that go on over HTTP whatever is killed, and the journal of every answer that they were given.

A call without an answer is made again, with the same idempotency key, until it is answered. The journal lies
in the process of the test, which survives.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
from support.http import Json, in_seconds, wrong
from support.scenes import SECRET, TOKEN_KEY

from technopay.engine import EngineSettings, MessageCode
from technopay.engine.values import PaymentTerms
from technopay.http.auth.tokens import TokenSigner

ANSWER_S_MAX = 90.0
CALL_S_MAX = 15.0
PURCHASES_PER_USER = 20
"""So few that a mock inbox, which keeps the newest two hundred, keeps all messages."""
BASKET = 3
OPERATOR = "operator"
LIMIT_STEP = 30_000
REFUSALS_PER_STEP = 4

QUICK_MERCHANTS = {"bookshop": 80, "shop-declines": 6, "shop-flaky": 6, "shop-lost": 2, "shop-errors": 2}
SLOW_MERCHANTS = {"shop-slow": 3, "shop-timeout": 1, "shop-stuck": 1}
"""What takes so long that it is not begun near the end."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a client makes."""

    method: str
    path: str
    body: Json | None
    user: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered, and how often it had been made without an answer before."""

    call: Call
    status: int
    body: Any
    replayed: bool
    doubts: int

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.body["code"])

    @property
    def payment(self) -> Json | None:
        """The payment that was answered, by itself or with a refusal."""
        payment = self.body if "confirmation" in self.body else self.body.get("payment")
        return dict(payment) if payment else None

    def expect(self, *statuses: int) -> Answer:
        """Answer itself if it has one of these statuses."""
        assert self.status in statuses, self
        return self


@dataclass
class Journal:
    """All that clients were told."""

    answers: list[Answer] = field(default_factory=list)
    repeated: int = 0
    refused_by_limit: int = 0
    confirmed_twice: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def write(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.repeated += answer.doubts > 0
        self.outcomes[answer.code if answer.status >= 400 else str(answer.status)] += 1


class Line:
    """Makes calls until they are answered, at one server or another."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], journal: Journal) -> None:
        self._session = session
        self._urls = urls
        self._signer = TokenSigner(TOKEN_KEY)
        self.journal = journal

    async def ask(
        self, method: str, path: str, body: Json | None = None, *, user: str = OPERATOR, key: str | None = None
    ) -> Answer:
        """Make a call until it is answered; write the answer down."""
        call = Call(method, path, body, user, key)
        answer = await self.repeat(call)
        self.journal.write(answer)
        return answer

    async def repeat(self, call: Call) -> Answer:
        """Make a call until it is answered."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + ANSWER_S_MAX
        doubts = 0
        while loop.time() < give_up_at:
            try:
                answer = await self._make(call, doubts)
            except aiohttp.ClientConnectorError:
                pass  # it was not even sent
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                doubts += 1
            else:
                if answer.status not in (503, 504):
                    assert answer.status < 500, answer
                    return answer
                doubts += answer.status == 504
            await asyncio.sleep(0.05)
        raise AssertionError(f"no answer within {ANSWER_S_MAX} s: {call}")

    async def _make(self, call: Call, doubts: int) -> Answer:
        is_operator = call.user == OPERATOR
        token = self._signer.sign(call.user, admin=is_operator, lifetime_s=30 * 86_400)
        headers = {"Authorization": f"Bearer {token}"}
        if call.key:
            headers["Idempotency-Key"] = call.key
        async with self._session.request(
            call.method, random.choice(self._urls) + call.path, json=call.body, headers=headers,
            timeout=aiohttp.ClientTimeout(CALL_S_MAX),
        ) as response:  # fmt: skip
            body = await response.json(content_type=None)
            return Answer(call, response.status, body, "Idempotent-Replayed" in response.headers, doubts)


class Shopper:
    """One client, with users of its own, one after the other."""

    def __init__(self, number: int, line: Line, crowd: Crowd) -> None:
        self._number = number
        self._line = line
        self._crowd = crowd
        self._chance = random.Random(f"{crowd.seed} {number}")
        self._keys = count(1)
        self._user = ""
        self._wallet = ""

    async def shop(self) -> None:
        """Go on until the crowd goes home. Every call that was made is answered then."""
        for purchase in count():
            if self._crowd.is_going_home:
                return
            if purchase % PURCHASES_PER_USER == 0:
                await self._become(f"user{self._number}.{purchase}")
            if self._is_lucky(0.2):
                await self._put(self._chance.randint(1, 2_000))
            if self._is_lucky(0.15):
                await self._buy_together()
            else:
                await self._buy()
            await asyncio.sleep(self._chance.uniform(0, self._crowd.pause_s))

    async def _become(self, user: str) -> None:
        body: Json = {"id": user, "email": f"{user}@example.com"}
        (await self._operate("/users", body)).expect(201)
        wallet = (await self._operate("/wallets", {"user_id": user, "currency": "EUR"})).expect(201)
        self._user, self._wallet = user, wallet.body["id"]
        await self._put(40_000)

    async def _put(self, amount: int) -> None:
        (await self._operate(f"/wallets/{self._wallet}/deposit", {"amount": amount})).expect(200)

    async def _buy_together(self) -> None:
        """Start several payments, and confirm them all at once: together they may well be over the limit."""
        payments = [await self._start("bookshop", self._chance.randint(1_000, 5_000)) for _ in range(BASKET)]
        confirms = [self._confirm(each, await right_code(each)) for each in payments if each]
        await asyncio.gather(*confirms)

    async def _buy(self) -> None:
        merchants = QUICK_MERCHANTS | (SLOW_MERCHANTS if self._crowd.has_time else {})
        [merchant] = self._chance.choices(list(merchants), list(merchants.values()))
        payment = await self._start(merchant, self._chance.randint(1, 2_000))
        if payment is None:
            return
        code = await right_code(payment)
        if self._is_lucky(0.2):
            await self._guess(payment, wrong(code))
        deeds = {self._confirm: 70, self._confirm_twice: 10, self._cancel: 8, self._race: 8, self._leave: 4}
        [deed] = self._chance.choices(list(deeds), list(deeds.values()))
        confirmed = await deed(payment, code)
        if confirmed and confirmed.status == 200 and self._is_lucky(0.15):
            refunded = await self._operate(f"/payments/{payment['id']}/refund")
            assert refunded.expect(200).body["status"] in ("refunding", "refunded"), refunded

    async def _start(self, merchant: str, amount: int) -> Json | None:
        """Start to pay a new invoice; None when it is refused for funds or limit."""
        invoice = await self._operate(
            "/invoices",
            {
                "user_id": self._user, "amount": amount, "currency": "EUR", "merchant": merchant,
                "expires_at": in_seconds(3_600),
            },
        )  # fmt: skip
        body = {"invoice_id": invoice.expect(201).body["id"], "wallet_id": self._wallet}
        started = (await self._post("/payments", body)).expect(201, 402)
        if started.status == 402:
            self._hear_refusal(started)
            return None
        payment: Json = started.body
        return payment

    async def _guess(self, payment: Json, code: str) -> None:
        """Confirm with a wrong code. In doubt, to ask again can cost another attempt."""
        guess = (await self._ask_confirm(payment, code)).expect(422, 409, 410)
        if guess.status == 422:
            assert 4 - guess.doubts <= guess.body["attempts_remaining"] <= 4, guess

    async def _confirm(self, payment: Json, code: str) -> Answer:
        confirmed = await self._ask_confirm(payment, code, self._chance.choice(("?wait=0", "?wait=2")))
        confirmed.expect(200, 202, 402, 409, 410)
        if confirmed.status == 402:
            self._hear_refusal(confirmed)
        elif confirmed.status in (409, 410):
            # It was late, or in doubt all attempts were used up.
            assert confirmed.code in ("payment_not_confirmable", "confirmation_expired"), confirmed
        return confirmed

    async def _confirm_twice(self, payment: Json, code: str) -> Answer:
        """Confirm twice at the same time: the money is taken once, at one instant."""
        both = await asyncio.gather(self._confirm(payment, code), self._confirm(payment, code))
        taken = {answer.body["paid_at"] for answer in both if answer.status in (200, 202)}
        assert len(taken) <= 1, both
        self._line.journal.confirmed_twice += bool(taken)
        return both[0]

    async def _cancel(self, payment: Json, code: str) -> None:
        canceled = (await self._post(f"/payments/{payment['id']}/cancel")).expect(200, 409)
        assert canceled.status == 200 or canceled.code == "payment_not_cancelable", canceled

    async def _race(self, payment: Json, code: str) -> None:
        """Confirm and cancel at the same time: not both."""
        confirmed, _ = await asyncio.gather(self._confirm(payment, code), self._cancel(payment, code))
        read = (await self._get(f"/payments/{payment['id']}")).expect(200).body
        if read["status"] == "canceled":
            assert confirmed.status >= 400, confirmed

    async def _leave(self, payment: Json, code: str) -> None:
        """Do nothing more: it expires."""

    def _hear_refusal(self, answer: Answer) -> None:
        assert answer.code in ("daily_limit_exceeded", "insufficient_funds", "settlement_failed"), answer
        if answer.code == "daily_limit_exceeded":
            limit = answer.body["limit"]
            assert limit["used"] <= limit["limit"], answer
            self._line.journal.refused_by_limit += 1

    async def _ask_confirm(self, payment: Json, code: str, query: str = "") -> Answer:
        path = f"/v1/payments/{payment['id']}/confirm{query}"
        return await self._line.ask("POST", path, {"code": code}, user=self._user)

    async def _post(self, path: str, body: Json | None = None) -> Answer:
        return await self._line.ask("POST", f"/v1{path}", body, user=self._user, key=self._key())

    async def _get(self, path: str) -> Answer:
        return await self._line.ask("GET", f"/v1{path}", user=self._user)

    async def _operate(self, path: str, body: Json | None = None) -> Answer:
        return await self._line.ask("POST", f"/v1/admin{path}", body, key=self._key())

    def _key(self) -> str:
        return f"{self._number}-{next(self._keys)}"

    def _is_lucky(self, chance: float) -> bool:
        return self._chance.random() < chance


class Crowd:
    """All clients, and the operator who raises the daily limit when it was hit."""

    def __init__(self, line: Line, seed: int, size: int, pause_s: float) -> None:
        self._line = line
        self._size = size
        self.seed = seed
        self.pause_s = pause_s
        self.has_time = True
        self.is_going_home = False

    async def shop(self) -> None:
        """Let all go on until they are sent home."""
        async with asyncio.TaskGroup() as group:
            operating = group.create_task(self._operate())
            shoppers = [
                group.create_task(Shopper(number, self._line, self).shop()) for number in range(self._size)
            ]
            await asyncio.wait(shoppers)
            operating.cancel()

    async def _operate(self) -> None:
        """Set the limit so that it is hit again and again, and never lower it."""
        limit, refused = 0, -REFUSALS_PER_STEP
        while True:
            if self._line.journal.refused_by_limit >= refused + REFUSALS_PER_STEP:
                refused = self._line.journal.refused_by_limit
                limit += LIMIT_STEP
                (await self._line.ask("PUT", "/v1/admin/limits/EUR", {"amount": limit})).expect(200)
            await asyncio.sleep(0.1)


VERIFIER = MessageCode(code_key=EngineSettings(secret=SECRET).derive_key("code"))


async def right_code(payment: Json) -> str:
    """Answer the code that the user gets."""
    terms = PaymentTerms(payment["id"], payment["amount"], payment["currency"], payment["merchant"])
    code = await VERIFIER.code(terms, 1)
    assert code
    return code
