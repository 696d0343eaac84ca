"""The stand-ins of load tests: a loop that leaps, a scripted server, fixtures and payments."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import repeat
from typing import Any, TypeVar, cast

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.fixtures import CURRENCY, LIMIT, Fixtures, Inbox, VirtualUser
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import Plan
from technopay.cli.load.timed_client import Headers, Reply, TimedClient, open_session
from technopay.engine import Limit
from technopay.http.client import Client, RetryPolicy

Outcome = TypeVar("Outcome")
Json = dict[str, Any]

DEPOSIT = 10_000
NOW = "2026-11-23T12:00:00.000Z"
NO_SESSION = cast("aiohttp.ClientSession", None)
QUICK = RetryPolicy(retries=9, deadline_s=1.0, timeout_s=1.0, backoff_s=0.0)
LOST = "lost"
"""As a reply: the request is read, then the connection is cut."""
SILENCE = "silence"
"""As a reply: none, for as long as the test takes."""


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only by waiting: no test sleeps, and nothing is ever late."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 1_000.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def leap(timeout_s: float | None) -> Any:
            self._now_s += timeout_s or 0.0
            return select(timeout_s and 0)

        selector.select = leap

    def time(self) -> float:
        return self._now_s


def leap(main: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run a coroutine on a loop that leaps."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(main)


class ScriptedClient(TimedClient):
    """A client without a server: a function returns the replies, and requests are kept."""

    def __init__(self, answer: Callable[[str], Reply]) -> None:
        super().__init__(NO_SESSION, Recorder(), Acknowledgements())
        self.asked: list[str] = []
        self.bodies: list[Json] = []
        self._answer = answer

    async def send(
        self,
        operation: str,
        method: str,
        path: str,
        headers: Headers,
        body: Json | None = None,
        *,
        due_s: float | None = None,
    ) -> Reply:
        self.asked.append(path)
        self.bodies += [body] if body is not None else []
        await asyncio.sleep(0)
        return self._answer(path)


@dataclass(slots=True)
class FakeServer:
    """Answers each path in order and repeats the last answer: a status with JSON or text, LOST or SILENCE."""

    url: str = ""
    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked[request.path] += 1
        left = self.answers[request.path]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer == SILENCE:
            await asyncio.Event().wait()
        if answer == LOST:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, body = answer
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)


@asynccontextmanager
async def fake_server() -> AsyncIterator[tuple[FakeServer, aiohttp.ClientSession]]:
    """Run a server without replies yet, with a session to it."""
    app = web.Application()
    server = FakeServer()
    app.router.add_route("*", "/{anything:.*}", server.answer)
    async with TestServer(app) as served:
        server.url = str(served.make_url("/")).rstrip("/")
        async with open_session(server.url, 16) as session:
            yield server, session


def make_plan(**changes: Any) -> Plan:
    """Make a plan for a run of three seconds."""
    usual: Json = {
        "url": "http://127.0.0.1:1", "scenario": "mixed", "duration_s": 3.0, "users": 1, "concurrency": 4,
        "rate_per_s": None,
    }  # fmt: skip
    return Plan(**{**usual, **changes})


def limit_json(**changes: Any) -> Json:
    """Return the daily limit in the server's JSON."""
    limit = {"currency": CURRENCY, "limit": LIMIT, "used": 0, "remaining": None, **changes}
    return {"rule": "global", "window": "day", "resets_at": "2026-11-24T00:00:00.000Z", **limit}


class ScriptedOperator:
    """An operator without a server: the limit as a test gives it, and the amounts to which it was set."""

    def __init__(self, read: Callable[[], Json | None] = limit_json) -> None:
        self.amounts: list[int] = []
        self._read = read

    async def list_all_limits(self, **_: Any) -> Any:
        limit = self._read()
        return type("Page", (), {"data": [Limit.model_validate(limit)] if limit else []})

    async def set_limit(self, *, currency: str, amount: int) -> Limit:
        self.amounts.append(amount)
        return Limit.model_validate(limit_json(currency=currency, limit=amount))


def load_fixtures(
    recorder: Recorder | None = None,
    users: Sequence[str] = ("alice",),
    *,
    used: int = 0,
    session: aiohttp.ClientSession = NO_SESSION,
    url: str = "http://127.0.0.1:1",
) -> Fixtures:
    """Make fixtures with users whose wallets have money in them."""
    timed = TimedClient(session, recorder or Recorder(), Acknowledgements())
    limit = Limit.model_validate(limit_json(used=used))
    client = Client(url, "token", session=session, retry_policy=QUICK)
    everybody = [VirtualUser(user, f"wal_{user}", DEPOSIT, {}, client, Inbox(timed, user)) for user in users]
    return Fixtures(timed, client, limit, timedelta(0), repeat({}), everybody)


def payment_json(status: str = "succeeded", **changes: Any) -> Json:
    """Return a payment of 100 in the server's JSON."""
    is_debited = status not in ("requires_confirmation", "canceled", "expired")
    usual = {
        "id": "pay_1",
        "wallet_id": "wal_alice",
        "invoice_id": "inv_1",
        "user_id": "alice",
        "amount": 100,
        "currency": CURRENCY,
        "merchant": "Load test",
        "status": status,
        "created_at": NOW,
        "paid_at": NOW if is_debited else None,
        "settled_at": None,
        "balance_before": DEPOSIT if is_debited else None,
        "balance_after": DEPOSIT - 100 if is_debited else None,
        "confirmation": None,
        "failure": None,
        "refunded_amount": 0,
        "refunds": [],
        "limits": [limit_json(used=100)],
        "set_aside": False,
    }
    return {**usual, **changes}
