"""The stream of a signed-in user's events."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import RootModel

from technopay.engine import InvoiceEvent, PaymentEvent
from technopay.engine.values import event_id_error
from technopay.http.auth import PAYMENTS
from technopay.http.problems import MalformedRequest
from technopay.http.routes import Call, Route, Stream
from technopay.http.sse import MEDIA, Frames

HEADERS = {"X-Accel-Buffering": "no"}
"""A proxy in between must not wait until there is more."""


class Event(RootModel[PaymentEvent | InvoiceEvent]):
    """The data of one server-sent event; its `id` and `event` lines say the id and the type."""


def event_routes(ping_interval_s: float) -> Sequence[Route]:
    """Make the route."""

    async def stream_events(call: Call) -> Stream:
        """Stream what happens to the caller's payments and invoices."""
        after = call.headers.get("Last-Event-ID")
        if event_id_error(after):
            raise MalformedRequest("Last-Event-ID has to be the id of an event.")
        events = await call.engine.events(user_id=call.caller.user_id, after=after)
        return Stream(Frames(events, ping_interval_s, call.caller.expires_at), MEDIA, HEADERS)

    return (
        Route(
            "GET", "/v1/events", "streamEvents", "Stream your events as they happen", PAYMENTS, stream_events,
            Event, errors=("malformed_request", "rate_limited"), media=MEDIA, takes_last_event=True,
        ),
    )  # fmt: skip
