"""Events: the stream of a user's events (server-sent events)."""

import asyncio
import time
from collections.abc import AsyncIterator

from pydantic import RootModel

from technopay.engine import Engine, InvoiceEvent, PaymentEvent, Subscription, ValidationFailed
from technopay.engine.models import EVENT_TYPES, WalletEvent
from technopay.http.api.route import Call, Route
from technopay.http.api.streams import Stream
from technopay.http.auth.tokens import PAYMENTS
from technopay.http.problems import MalformedRequest
from technopay.http.responses import EVENT_STREAM

RETRY_MS = 1_000
"""The pause of a client before it reconnects."""
PING = b": ping\n\n"
HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy must not buffer the stream."""

DESCRIPTION = f"""\
Server-sent events. Each has its id, its type and, as data, the record: `type` says what happened, and the
payment, invoice or wallet is as it was when the event was read, so it can be newer than the event, never older.
`version` counts the changes of one payment (or invoice), 1, 2, 3 … without gaps; of a wallet, it grows.

The stream starts now, or after `Last-Event-ID`: any event, however old. It first sends an id without an event:
after an immediate disconnect, go on after that one. Without events, a comment (`: ping`) comes every 15 s.
The stream ends when the token does, after an hour at the latest, when the server shuts down, or when the client
does not read for a while: reconnect with the last id, and no event is lost.

A user has at most four streams at a time, then the response is 429 `rate_limited`. A browser's `EventSource`
cannot send the token: use `fetch` there.

Types: {", ".join(f"`{name}`" for name in EVENT_TYPES)}. More may come."""


class Event(RootModel[PaymentEvent | InvoiceEvent | WalletEvent]):
    """The data of one server-sent event; its `id` and `event` lines are the id and the type."""


class Frames:
    """The frames of a subscription, with pings between; they end with the sign-in."""

    def __init__(self, events: Subscription, ping_interval_s: float, expires_at: float) -> None:
        self._events = events
        self._ping_interval_s = ping_interval_s
        self._expires_at = expires_at

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield first_frame(self._events.begins_after)
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
        await self._events.aclose()


def first_frame(begins_after: str) -> bytes:
    """Return a frame with the id before the first event: after a disconnect, it starts there again."""
    return f"retry: {RETRY_MS}\nid: {begins_after}\n\n".encode()


def frame(event: PaymentEvent | InvoiceEvent | WalletEvent) -> bytes:
    """Return one event as a frame. Our JSON contains no line breaks."""
    model = PaymentEvent if isinstance(event, PaymentEvent) else InvoiceEvent
    data = model.__pydantic_serializer__.to_json(event)
    return f"id: {event.id}\nevent: {event.type}\ndata: ".encode() + data + b"\n\n"


async def stream_events(call: Call, *, user_id: str) -> Stream:
    after = call.request.headers.get("Last-Event-ID")
    try:
        events = await call.engine.events(user_id=user_id, after=after)
    except ValidationFailed as error:
        raise MalformedRequest("Last-Event-ID must be the id of an event.") from error
    return Stream(Frames(events, call.limits.ping_interval_s, call.caller.expires_at), EVENT_STREAM, HEADERS)


EVENT_ROUTES = (
    Route(
        "GET", "/v1/events", PAYMENTS, Engine.events, stream_events, errors=(MalformedRequest,),
        result=Event, media=EVENT_STREAM, description=DESCRIPTION,
    ),
)  # fmt: skip
