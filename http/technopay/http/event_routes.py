"""The stream of a signed-in user's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from pydantic import RootModel

from technopay.engine import InvoiceEvent, PaymentEvent, ValidationFailed
from technopay.engine.models import InvoiceEventType, PaymentEventType
from technopay.http.auth import PAYMENTS
from technopay.http.problems import MalformedRequest
from technopay.http.routes import Call, Route, Stream
from technopay.http.sse import MEDIA, Frames

EVENT_TYPES = (*get_args(PaymentEventType), *get_args(InvoiceEventType))
STREAM = f"""\
Server-sent events. Each has its id, its type and, as data, the record: `type` says what happened, and the
payment or invoice is as it was when the event was read, so it can be newer than the event, never older.
`version` counts the changes of one payment (or invoice), 1, 2, 3 … without gaps.

The stream begins now, or after `Last-Event-ID`: any event, however old. It first says an id without an event:
who is cut off at once goes on after that one. When there is no news, a comment (`: ping`) comes every 15
seconds. It ends when the token does, after an hour at the latest, when the server is shut down, or when nothing
is read for a while: connect again with the last id, and you miss nothing.

A user has at most four streams at a time, then it is 429 `rate_limited`. A browser's `EventSource` cannot send
the token: use `fetch` there.

Types: {", ".join(f"`{name}`" for name in EVENT_TYPES)}. More may come."""
HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy in between must not wait until there is more."""


class Event(RootModel[PaymentEvent | InvoiceEvent]):
    """The data of one server-sent event; its `id` and `event` lines say the id and the type."""


def event_routes(ping_interval_s: float) -> Sequence[Route]:
    """Make the route."""

    async def stream_events(call: Call) -> Stream:
        """Stream what happens to the caller's payments and invoices."""
        after = call.headers.get("Last-Event-ID")
        try:
            events = await call.engine.events(user_id=call.caller.user_id, after=after)
        except ValidationFailed as error:
            raise MalformedRequest("Last-Event-ID has to be the id of an event.") from error
        return Stream(Frames(events, ping_interval_s, call.caller.expires_at), MEDIA, HEADERS)

    return (
        Route(
            "GET", "/v1/events", "streamEvents", "Stream your events as they happen", PAYMENTS, stream_events,
            Event, errors=("malformed_request", "rate_limited"), media=MEDIA, takes_last_event=True,
            description=STREAM,
        ),
    )  # fmt: skip
