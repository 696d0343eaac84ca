"""Requests to the server, each timed from when it was due.

No request is retried here. A GET or PUT is sent once more by aiohttp when its connection is cut; that is part
of its latency. A POST is sent once.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.recorder import Recorder

REPLY_DEADLINE_S = 30.0
"""Longer than the longest time-out of the server, so that the server gives up first."""

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply; status 0 without one."""

    status: int
    code: str
    body: dict[str, Any]

    @property
    def is_rejected(self) -> bool:
        """Whether the server did not take the request, or its outcome is not known."""
        return self.status in (0, 429, 503, 504)

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was done; a declined settlement was done and refunded."""
        return 400 <= self.status < 500 and self.code != "settlement_failed"


class TimedClient:
    """Sends requests, records their durations, and keeps every payment that the server acknowledges."""

    def __init__(
        self, session: aiohttp.ClientSession, recorder: Recorder, acknowledgements: Acknowledgements
    ) -> None:
        self._session = session
        self._recorder = recorder
        self.acknowledgements = acknowledgements
        self._clock = asyncio.get_running_loop().time

    async def send(
        self,
        operation: str,
        method: str,
        path: str,
        headers: Headers,
        body: dict[str, Any] | None = None,
        *,
        due_s: float | None = None,
    ) -> Reply:
        """Send one request, due at a time of the loop's clock, or now."""
        if due_s is None:
            due_s = self._clock()
        reply = await self._send(method, path, headers, body)
        self._recorder.request(operation, reply.status, reply.code, self._clock() - due_s)
        self.acknowledgements.add(reply.body)
        return reply

    async def confirm(self, operation: str, payment_id: str, headers: Headers, body: dict[str, Any]) -> Reply:
        """Confirm a payment; a refusal is kept like an acknowledgement."""
        self.acknowledgements.confirm(payment_id)
        reply = await self.send(operation, "POST", f"/v1/payments/{payment_id}/confirm", headers, body)
        if reply.is_refusal:
            self.acknowledgements.refuse(payment_id, reply.code)
        return reply

    def wait(self, operation: str, began_s: float) -> None:
        """Record a wait that is not a request and began at a time of the loop's clock."""
        self._recorder.wait(operation, self._clock() - began_s)

    async def _send(self, method: str, path: str, headers: Headers, body: dict[str, Any] | None) -> Reply:
        try:
            async with self._session.request(method, path, json=body, headers=headers) as response:
                return read_reply(response.status, await response.read())
        except TimeoutError:
            return Reply(0, "no_answer_in_time", {})
        except aiohttp.ClientConnectorError:
            return Reply(0, "not_connected", {})
        except (aiohttp.ClientError, OSError):
            return Reply(0, "connection_lost", {})


def read_reply(status: int, text: bytes) -> Reply:
    """Parse a reply; its code is that of the refusal, or the status of the resource."""
    try:
        body = json.loads(text)
    except ValueError:
        return Reply(status, "not_json", {})
    if not isinstance(body, dict):
        return Reply(status, "not_json", {})
    code = body.get("code") if status >= 400 else body.get("status", "ok")
    return Reply(status, code if isinstance(code, str) else "no_code", body)


def open_session(url: str, connections: int) -> aiohttp.ClientSession:
    """Open a session with a connection for each request under way."""
    return aiohttp.ClientSession(
        base_url=url,
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=REPLY_DEADLINE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
