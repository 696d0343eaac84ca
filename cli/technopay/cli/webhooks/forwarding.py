"""Forwards the events of a server to an address, signed as webhooks are (Standard Webhooks)."""

import asyncio
import base64
import binascii
import json
import secrets
import time
from contextlib import aclosing
from datetime import UTC, datetime

import aiohttp
from standardwebhooks import Webhook

from technopay.cli.process import say
from technopay.engine import TechnopayError
from technopay.http.client.calls import with_query
from technopay.http.client.errors import UnexpectedAnswer
from technopay.http.client.events import ALL_PATH, Frame, receive
from technopay.http.client.retries import RetryPolicy
from technopay.http.client.transport import Transport

PREFIX = "whsec_"
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
DELIVERY_TIMEOUT_S = 10.0
TRIES_MAX = 20
"""Tries in a row to connect to the server."""
PAUSE_S, PAUSE_S_MAX = 0.5, 30.0
"""Before the second try, doubled before each further one; and the longest pause."""


def make_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES_MIN)).decode()


def secret_error(secret: str) -> str | None:
    """Return what is wrong with a secret, without showing it."""
    try:
        size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not secret.startswith(PREFIX) or not SECRET_BYTES_MIN <= size <= SECRET_BYTES_MAX:
        return f"has to be {PREFIX} and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in base64"
    return None


class Forwarder:
    """Sends events to an address, each once."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._session = session
        self._url = url
        self._signer = Webhook(secret)

    async def forward(self, frame: Frame) -> str:
        """Send an event; return a line about it: the status of the response or why there is none.

        Raises:
            UnexpectedAnswer: it is no event.

        """
        try:
            event_id = str(json.loads(frame.data)["id"])
        except (ValueError, LookupError, TypeError):
            raise UnexpectedAnswer("The server sent an event that cannot be read.") from None
        began_s = time.monotonic()
        result = await self._post(event_id, frame.data)
        return f"{result} {frame.type} {event_id} ({time.monotonic() - began_s:.3f} s)"

    async def _post(self, event_id: str, body: str) -> str:
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(event_id, now, body),
        }
        try:
            async with self._session.post(
                self._url, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                return str(response.status)
        except TimeoutError:
            return f"no response within {DELIVERY_TIMEOUT_S:g} s:"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"not sent ({type(error).__name__}):"


async def forward_events(
    url: str, token: str, forward_to: str, types: str | None, secret: str, stopped: asyncio.Event
) -> None:
    """Forward events from now on until it is stopped; reconnect after the last event.

    Raises:
        TechnopayError: the server refuses the stream, or cannot be reached for long.

    """
    transport = Transport(url, token, None, RetryPolicy(retries=0), None)
    timeout = aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT_S)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
        transport.open()
        try:
            say(f"technopay: the secret of the signatures is {secret}")
            say(f"technopay: forwarding to {forward_to}")
            path = with_query(ALL_PATH, {"types": types})
            forwarding = asyncio.create_task(_follow(transport, path, Forwarder(session, forward_to, secret)))
            ending = asyncio.create_task(stopped.wait())
            await asyncio.wait({forwarding, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (forwarding, ending):
                task.cancel()
            await asyncio.wait({forwarding, ending})
            if not forwarding.cancelled():
                forwarding.result()
        finally:
            await transport.close()


async def _follow(transport: Transport, path: str, forwarder: Forwarder) -> None:
    """Forward the events of a stream, one after the other."""
    after: str | None = None
    tries = 0
    while True:
        try:
            async with aclosing(receive(transport, path, after)) as frames:
                async for frame in frames:
                    if tries or after is None:
                        say("technopay: connected")
                    tries, after = 0, after or frame.id
                    if frame.data:
                        say(await forwarder.forward(frame))
                    after = frame.id or after
        except TechnopayError as error:
            tries += 1
            if not error.retryable or tries >= TRIES_MAX:
                raise
            pause_s = min(PAUSE_S_MAX, PAUSE_S * 2 ** (tries - 1))
            say(f"technopay: no connection, next try in {pause_s:g} s: {error}")
            await asyncio.sleep(pause_s)
