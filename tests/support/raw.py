"""A really served application, spoken to in bytes as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from support.http import Person
from support.scenes import SECRET

from technopay.engine import Engine
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator, TokenSigner
from technopay.http.server.limits import ServerLimits
from technopay.http.server.serving import serving

QUICK = ServerLimits(head_deadline_s=0.3, keepalive_s=0.3, body_deadline_s=0.3, write_deadline_s=0.3)
"""ServerLimits under which nobody is waited for long."""

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a connection answered before it ended."""

    raw: bytes

    @property
    def status(self) -> int:
        """The status of the first answer; 0 when there was none."""
        return int(self.raw.split(b" ", 2)[1]) if self.raw.startswith(b"HTTP/") else 0

    @property
    def problem(self) -> Any:
        return json.loads(self.raw.partition(b"\r\n\r\n")[2])

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode()


@dataclass(frozen=True, slots=True)
class Served:
    """An application that is served as `technopay serve` does."""

    host: str
    port: int
    app: web.Application

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def say(self, raw: bytes) -> Told:
        """Say something; answer what comes back until the server hangs up. Meanwhile another one is served."""
        reader, writer = await self.open()
        try:
            writer.write(raw)
            await self.greet()
            return await heard(reader)
        finally:
            writer.close()

    async def greet(self) -> None:
        """Be another client: one that is answered as always."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await self.open()
            writer.write(request("GET /v1/wallets", close=True))
            assert Told(await reader.read()).status == 200
            writer.close()


async def heard(reader: asyncio.StreamReader) -> Told:
    """Answer what is heard until the server hangs up, one way or another."""
    parts = []
    async with asyncio.timeout(PATIENCE_S):
        try:
            while part := await reader.read(65_536):
                parts.append(part)
        except ConnectionError:
            pass
    return Told(b"".join(parts))


def request(what: str, *lines: bytes, body: bytes = b"", close: bool = False) -> bytes:
    """Write a request as Alice or, below /v1/admin, as an operator; `lines` come after the usual headers."""
    admin = "/v1/admin" in what
    token = TokenSigner(SECRET).sign("operator" if admin else "alice", admin=admin, lifetime_s=30 * 86_400)
    usual = [f"{what} HTTP/1.1".encode(), b"Host: here", f"Authorization: Bearer {token}".encode()]
    if close:
        usual.append(b"Connection: close")
    return b"\r\n".join([*usual, *lines, b"", body])


def deposit(person: Person, *lines: bytes, body: bytes = b'{"amount": 1}') -> bytes:
    """Write a deposit, which is seen in the wallet if it is taken."""
    path = f"/v1/admin/wallets/{person.wallet_id}/deposit"
    return request(f"POST {path}", b"Content-Type: application/json", *lines, body=body)


@asynccontextmanager
async def served(engine: Engine, **changes: Any) -> AsyncIterator[Served]:
    """Serve an engine, with short deadlines."""
    bounds = replace(QUICK, **changes)
    app = create_app(engine, TokenAuthenticator(SECRET), limits=bounds)
    async with serving(app, "127.0.0.1", 0, limits=bounds, drain_s=1.0) as (host, port):
        yield Served(host, port, app)
