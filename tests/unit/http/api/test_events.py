"""Server-sent events: how they are written, and when a stream of them pings and ends."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

from support.fixtures.doubles import make_payment

from technopay.engine import Event, PaymentEvent
from technopay.engine.models import from_ms, rfc3339
from technopay.http.api.events import PING, Frames, first_frame, frame

LINES = "Zeile 1\nid: evt_002-0\r\n\u2028"


OPENING = first_frame("evt_000-7")


class Told:
    """A subscription with these events, that then ends, or says nothing more."""

    begins_after = "evt_000-7"

    def __init__(self, *events: Event, ends: bool) -> None:
        self._events = list(events)
        self._ends = ends

    async def __anext__(self) -> Event:
        if self._events:
            return self._events.pop(0)
        if not self._ends:
            await asyncio.Event().wait()
        raise StopAsyncIteration


def make_event(**changes: Any) -> PaymentEvent:
    payment = make_payment(**changes)
    return PaymentEvent(id="evt_001-0", type="payment.failed", at=from_ms(1), version=3, payment=payment)


def test_an_event_is_three_lines_whatever_its_texts_say() -> None:
    event = make_event(merchant=LINES)
    lines = frame(event).decode().split("\n")
    assert lines[:2] == ["id: evt_001-0", "event: payment.failed"]
    assert lines[3:] == ["", ""]
    data = json.loads(lines[2].removeprefix("data: "))
    assert data["payment"]["merchant"] == LINES
    assert (data["at"], data["version"]) == (rfc3339(from_ms(1)), 3)


def test_the_opening_is_no_event_and_says_where_the_stream_begins() -> None:
    assert OPENING == b"retry: 1000\nid: evt_000-7\n\n"


async def test_frames_end_when_the_events_do() -> None:
    event = make_event()
    told: Any = Told(event, ends=True)
    assert [each async for each in Frames(told, 60.0, math.inf)] == [OPENING, frame(event)]


async def test_frames_end_when_the_sign_in_does() -> None:
    told: Any = Told(make_event(), ends=False)
    said = [each async for each in Frames(told, 60.0, time.time() + 0.05)]
    assert said == [OPENING, frame(make_event()), PING]
    late: Any = Told(make_event(), ends=False)
    assert [each async for each in Frames(late, 60.0, time.time())] == [OPENING]
