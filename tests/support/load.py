"""What a load test is tried on: a loop that leaps, a server that answers as told, scenes and payments."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from technopay.cli.load.inbox import Inbox
from technopay.cli.load.journal import Journal
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import Plan
from technopay.cli.load.scene import CURRENCY, LIMIT, Headers, Scene, Shopper
from technopay.cli.load.wire import Reply, Wire, open_session

Outcome = TypeVar("Outcome")
Json = dict[str, Any]

DEPOSIT = 10_000
NO_SESSION = cast("aiohttp.ClientSession", None)
LOST = "lost"
"""As an answer: the request is read, then the connection is cut."""
SILENCE = "silence"
"""As an answer: none, for as long as the test takes."""


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only by waiting for it: nobody sleeps, and nothing is ever late."""

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


class ToldWire(Wire):
    """A wire to nobody: what is asked is kept, and a function answers it."""

    def __init__(self, answer: Callable[[str], Reply]) -> None:
        super().__init__(NO_SESSION, Recorder(), Journal())
        self.asked: list[str] = []
        self.bodies: list[Json] = []
        self._answer = answer

    async def ask(
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
    """Run a server that is yet to be told what to answer, with a session to ask it."""
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
    """Write the daily limit as the server does."""
    usual = {"currency": CURRENCY, "limit": LIMIT, "used": 0, "resets_at": "2026-11-24T00:00:00.000Z"}
    return {**usual, **changes}


def make_scene(recorder: Recorder | None = None, users: Sequence[str] = ("alice",), used: int = 0) -> Scene:
    """Make a scene with users whose wallets have money in them."""
    wire = Wire(NO_SESSION, recorder or Recorder(), Journal())
    shoppers = [Shopper(user, f"wal_{user}", DEPOSIT, {}, Inbox(wire, user)) for user in users]
    return Scene(wire, {"Authorization": "Bearer admin"}, limit_json(used=used), timedelta(0), [{}], shoppers)


def payment_json(status: str = "succeeded", **changes: Any) -> Json:
    """Write a payment of 100 as the server does."""
    is_debited = status not in ("requires_confirmation", "canceled", "expired")
    usual = {
        "id": "pay_1",
        "wallet_id": "wal_alice",
        "invoice_id": "inv_1",
        "amount": 100,
        "status": status,
        "paid_at": "2026-11-23T12:00:00.000Z" if is_debited else None,
        "balance_before": DEPOSIT if is_debited else None,
        "balance_after": DEPOSIT - 100 if is_debited else None,
        "limits": [limit_json(used=100)],
    }
    return {**usual, **changes}
