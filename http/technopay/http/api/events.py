"""Events: the stream of a user's events, and those of all users as lists and as a stream."""

import asyncio
import time
from collections.abc import AsyncIterator

from pydantic import RootModel

from technopay.engine import Engine, EventPage, Subscription, ValidationFailed, models
from technopay.engine.events.subjects import EVENT_TYPES, EventTypes
from technopay.engine.fields import PageLimit
from technopay.http.api.route import Call, Route
from technopay.http.api.streams import Stream
from technopay.http.auth.tokens import ADMIN, PAYMENTS
from technopay.http.problems import MalformedRequest
from technopay.http.responses import EVENT_STREAM, Response, record_response

RETRY_MS = 1_000
"""The pause of a client before it reconnects."""
PING = b": ping\n\n"
HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy must not buffer the stream."""

TYPES = f"Types: {', '.join(f'`{name}`' for name in EVENT_TYPES)}. More may come."
DESCRIPTION = f"""\
Server-sent events. Each has its id, its type and, as data, the record: `type` says what happened, and the
payment, invoice or wallet is as it was when the event was read, so it can be newer than the event, never
older. `version` counts the changes of one payment (or invoice), 1, 2, 3 … without gaps; of a wallet, it grows.

The stream starts now, or after `Last-Event-ID`: any event, however old. It first sends an id without an event:
after an immediate disconnect, go on after that one. Without events, a comment (`: ping`) comes every 15 s.
The stream ends when the token does, after an hour at the latest, when the server shuts down, or when the client
does not read for a while: reconnect with the last id, and no event is lost.

A user has at most four streams at a time, then the response is 429 `rate_limited`. A browser's `EventSource`
cannot send the token: use `fetch` there.

{TYPES}"""
ALL_DESCRIPTION = f"""\
The events of all users, oldest first for each payment; across users there is no order. Each comes at least
once. Go on after `next_cursor`, at once while there is more, else whenever you like. A page can be short, or
empty, while there is a next one: `types` leaves events out, and the cursor passes them. Without `after` the
list begins at the beginning of the journal. A cursor ahead of the journal is 409: the store lost events.

With `Accept: text/event-stream` it is a stream like that of `GET /v1/events`, from now on, or after the cursor
in `Last-Event-ID` or else `after`. The id of each event is the cursor behind it; cursors of pages and of
streams are the same. A ping brings a new one if only events were passed that `types` leaves out. `limit` is
ignored. A process has at most 16 such streams, then the response is 503 `overloaded`.

{TYPES}"""


class Event(RootModel[models.Event]):
    """The data of one server-sent event; its `event` line is the type."""


class Frames:
    """The frames of a subscription, with pings between; they end with the sign-in."""

    def __init__(self, events: Subscription, ping_interval_s: float, expires_at: float) -> None:
        self._events = events
        self._ping_interval_s = ping_interval_s
        self._expires_at = expires_at

    async def __aiter__(self) -> AsyncIterator[bytes]:
        sent = self._events.cursor
        yield first_frame(sent)
        while (left_s := self._expires_at - time.time()) > 0:
            try:
                async with asyncio.timeout(min(self._ping_interval_s, left_s)):
                    event = await anext(self._events)
            except TimeoutError:
                before, sent = sent, self._events.cursor
                yield PING if sent == before else f": ping\nid: {sent}\n\n".encode()
            except StopAsyncIteration:
                return
            else:
                sent = self._events.cursor
                yield frame(event, sent)

    async def aclose(self) -> None:
        await self._events.aclose()


def first_frame(begins_after: str) -> bytes:
    """Return a frame with the id before the first event: after a disconnect, it starts there again."""
    return f"retry: {RETRY_MS}\nid: {begins_after}\n\n".encode()


def frame(event: models.Event, resume_after: str) -> bytes:
    """Return one event as a frame. Our JSON contains no line breaks."""
    data = type(event).__pydantic_serializer__.to_json(event)
    return f"id: {resume_after}\nevent: {event.type}\ndata: ".encode() + data + b"\n\n"


async def stream_events(call: Call, *, user_id: str) -> Stream:
    after = call.request.headers.get("Last-Event-ID")
    try:
        events = await call.engine.events(user_id=user_id, after=after)
    except ValidationFailed as error:
        raise MalformedRequest("Last-Event-ID must be the id of an event.") from error
    return _stream(call, events)


async def list_events(
    call: Call, *, after: str | None = None, types: EventTypes | None = None, limit: PageLimit = 20
) -> Response | Stream:
    """Return a page, or to a client that accepts one a stream."""
    if EVENT_STREAM not in call.request.headers.get("Accept", ""):
        page = await call.engine.list_events(after=after, types=types, limit=limit)
        return record_response(page, EventPage)
    seen = call.request.headers.get("Last-Event-ID")
    try:
        events = await call.engine.all_events(after=after if seen is None else seen, types=types)
    except ValidationFailed as error:
        if seen is None:
            raise
        raise MalformedRequest("Last-Event-ID must be an id of this stream.") from error
    return _stream(call, events)


def _stream(call: Call, events: Subscription) -> Stream:
    return Stream(Frames(events, call.limits.ping_interval_s, call.caller.expires_at), EVENT_STREAM, HEADERS)


EVENT_ROUTES = (
    Route(
        "GET", "/v1/events", PAYMENTS, Engine.events, stream_events, errors=(MalformedRequest,),
        result=Event, media=EVENT_STREAM, description=DESCRIPTION,
    ),
)  # fmt: skip
ALL_EVENT_ROUTES = (
    Route(
        "GET", "/v1/admin/events", ADMIN, Engine.list_events, list_events, errors=(MalformedRequest,),
        streamed=Event, description=ALL_DESCRIPTION,
    ),
)  # fmt: skip
