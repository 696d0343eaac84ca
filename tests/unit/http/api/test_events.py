"""Server-sent events: their frames, and the end of a stream with its sign-in."""

import asyncio
import json
import time
from typing import Any

from support.fixtures.doubles import make_payment

from technopay.engine import Event, PaymentEvent
from technopay.engine.record import from_ms, rfc3339
from technopay.http.api.events import PING, Frames, frame

LINES = "Zeile 1\nid: evt_002-0\r\n\u2028"


class EndlessSubscription:
    """A subscription with these events, and no further ones during the test."""

    cursor = "evt_000-7"

    def __init__(self, *events: Event) -> None:
        self._events = list(events)

    async def __anext__(self) -> Event:
        while not self._events:
            await asyncio.Event().wait()
        event = self._events.pop(0)
        self.cursor = event.id
        return event


def make_event(**changes: Any) -> PaymentEvent:
    payment = make_payment(**changes)
    return PaymentEvent(id="evt_001-0", type="payment.failed", at=from_ms(1), version=3, payment=payment)


def test_an_event_is_three_lines_with_any_text_in_it() -> None:
    event = make_event(merchant=LINES)
    lines = frame(event, event.id).decode().split("\n")
    assert lines[:2] == ["id: evt_001-0", "event: payment.failed"]
    assert lines[3:] == ["", ""]
    data = json.loads(lines[2].removeprefix("data: "))
    assert data["payment"]["merchant"] == LINES
    assert (data["at"], data["version"]) == (rfc3339(from_ms(1)), 3)


async def test_frames_end_when_the_sign_in_does() -> None:
    opening = b"retry: 1000\nid: evt_000-7\n\n"
    for lasts_s, frames in ((0.05, [opening, frame(make_event(), "evt_001-0"), PING]), (0.0, [opening])):
        events: Any = EndlessSubscription(make_event())
        assert [each async for each in Frames(events, 60.0, time.time() + lasts_s)] == frames
