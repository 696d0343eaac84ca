"""Server-sent events: how they are written, and a stream of them that shows that it is still there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from technopay.engine import Event, Subscription
from technopay.http.render import record_json

MEDIA = "text/event-stream"
RETRY_MS = 1_000
"""What a client waits before it connects again."""
PING = b": ping\n\n"


def opening(begins_after: str) -> bytes:
    """Write after what the stream begins, in no event: who is cut off at once goes on from there."""
    return f"retry: {RETRY_MS}\nid: {begins_after}\n\n".encode()


def frame(event: Event) -> bytes:
    """Write one event. JSON of ours holds no line breaks."""
    said = f"id: {event.id}\nevent: {event.type}\ndata: ".encode()
    return said + record_json(event, operator=False) + b"\n\n"


class Frames:
    """The frames of a subscription, with a ping whenever there was nothing else to say for a while.

    They end when the sign-in does: whoever wants to go on has to sign in again.
    """

    def __init__(self, events: Subscription, ping_interval_s: float, expires_at: float) -> None:
        self._events = events
        self._ping_interval_s = ping_interval_s
        self._expires_at = expires_at

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield opening(self._events.begins_after)
        while (left_s := self._expires_at - time.time()) > 0:
            try:
                async with asyncio.timeout(min(self._ping_interval_s, left_s)):
                    event = await anext(self._events)
            except TimeoutError:
                yield PING
            except StopAsyncIteration:
                return
            else:
                yield frame(event)

    async def aclose(self) -> None:
        """Give the subscription up."""
        await self._events.aclose()
