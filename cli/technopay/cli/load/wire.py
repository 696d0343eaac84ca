"""Requests to the server, each timed from when it should have left.

Nothing is tried again here. What only reads or sets, aiohttp sends once more when its connection is cut; that
is part of its latency. A POST leaves once.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from technopay.cli.load.journal import Journal
from technopay.cli.load.recorder import Recorder

ANSWER_DEADLINE_S = 30.0
"""Longer than the server takes at most, so that it is the server that gives up first."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; status 0 where none came."""

    status: int
    code: str
    body: dict[str, Any]

    @property
    def is_turned_away(self) -> bool:
        """Whether the server did not take the request, or nobody can say."""
        return self.status in (0, 429, 503, 504)

    @property
    def is_refusal(self) -> bool:
        """Whether it says that nothing was done, and why; what was given back had been done."""
        return 400 <= self.status < 500 and self.code != "settlement_failed"


class Wire:
    """Asks the server, writes down how long it took, and keeps what it was told of payments."""

    def __init__(self, session: aiohttp.ClientSession, recorder: Recorder, journal: Journal) -> None:
        self._session = session
        self._recorder = recorder
        self.journal = journal
        self._clock = asyncio.get_running_loop().time

    async def ask(
        self,
        operation: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: dict[str, Any] | None = None,
        *,
        due_s: float | None = None,
    ) -> Reply:
        """Make one request; it should have left at a time of the loop's clock, or now."""
        if due_s is None:
            due_s = self._clock()
        reply = await self._send(method, path, headers, body)
        self._recorder.request(operation, reply.status, reply.code, self._clock() - due_s)
        self.journal.hear(reply.body)
        return reply

    async def confirm(
        self, operation: str, payment_id: str, headers: dict[str, str], body: dict[str, Any]
    ) -> Reply:
        """Confirm a payment; a refusal is kept like whatever else was told."""
        self.journal.confirm(payment_id)
        reply = await self.ask(operation, "POST", f"/v1/payments/{payment_id}/confirm", headers, body)
        if reply.is_refusal:
            self.journal.refuse(payment_id, reply.code)
        return reply

    def waited(self, operation: str, began_s: float) -> None:
        """Write down a wait that is no request of its own, and began at a time of the loop's clock."""
        self._recorder.waited(operation, self._clock() - began_s)

    async def _send(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None
    ) -> Reply:
        try:
            async with self._session.request(method, path, json=body, headers=headers) as response:
                text = await response.read()
                status = response.status
        except TimeoutError:
            return Reply(0, "no_answer_in_time", {})
        except aiohttp.ClientConnectorError:
            return Reply(0, "not_connected", {})
        except (aiohttp.ClientError, OSError):
            return Reply(0, "connection_lost", {})
        return read_reply(status, text)


def read_reply(status: int, text: bytes) -> Reply:
    """Read an answer; its code is that of the refusal, or the status of what it is about."""
    try:
        body = json.loads(text)
    except ValueError:
        return Reply(status, "not_json", {})
    if not isinstance(body, dict):
        return Reply(status, "not_json", {})
    code = body.get("code") if status >= 400 else body.get("status", "ok")
    return Reply(status, code if isinstance(code, str) else "no_code", body)


def open_session(url: str, connections: int) -> aiohttp.ClientSession:
    """Open a session whose requests never wait for one another's connection."""
    return aiohttp.ClientSession(
        base_url=url,
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=ANSWER_DEADLINE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
