"""A server with scripted replies to any request, and a record of the requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from technopay.engine import Wallet
from technopay.engine.record import from_ms
from technopay.http.client import Client
from technopay.http.problems import PROBLEMS

RESET = "reset"
"""As a reply: read the request, then cut the connection."""
HTML = "<html>Bad gateway</html>"


@dataclass(frozen=True, slots=True)
class Asked:
    """A received request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes = b""

    @property
    def key(self) -> str | None:
        return self.headers.get("Idempotency-Key")


@dataclass(frozen=True, slots=True)
class Scripted:
    """A scripted reply."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


WALLET = Wallet(
    id="wal_1", user_id="alice", currency="EUR", balance=5, status="active", created_at=from_ms(1_000)
)
DONE = Scripted(200, WALLET.model_dump_json())


def problem(code: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Scripted:
    """Write a problem as technopay's server does."""
    status, title = PROBLEMS[code]
    members = {
        "type": f"urn:technopay:problem:{code}",
        "title": title,
        "status": status,
        "detail": f"It is {code}.",
        "code": code,
        "request_id": "req-1",
        "retryable": False,
        **more,
    }
    return Scripted(status, json.dumps(members), headers or {})


@dataclass(slots=True)
class ScriptedServer:
    """Sends its replies in order, and repeats the last one."""

    url: str
    script: list[Scripted | str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def keys(self) -> list[str | None]:
        return [asked.key for asked in self.asked]

    async def answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.asked.append(Asked(request.method, request.raw_path, dict(request.headers), body, raw))
        scripted = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(scripted, str):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=scripted.status, text=scripted.text, headers=scripted.headers)


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Run a server without replies yet."""
    app = web.Application()
    server = ScriptedServer("")
    app.router.add_route("*", "/{anything:.*}", server.answer)
    async with TestServer(app) as served:
        server.url = str(served.make_url("/")).rstrip("/")
        yield server


class RecordedClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self.now += delay_s


class Tokens:
    """Returns a new token at each call."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        await asyncio.sleep(0)
        return f"token-{self.made}"


async def deposit(client: Client, key: str | None = None) -> Wallet:
    """Make a call that changes a record."""
    return await client.deposit(wallet_id="wal_1", amount=5, idempotency_key=key)
