"""Events as they happen: one stream (server-sent events) after the other, without a gap between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import get_args

import aiohttp
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from technopay.engine import fields
from technopay.engine.models import Event, InvoiceEventType, PaymentEventType
from technopay.http.client.connection import Connection
from technopay.http.client.errors import ServerUnreachable, UnexpectedAnswer
from technopay.http.client.retries import Failure, Reply, judge, no_answer
from technopay.http.problems import Unauthenticated

PATH = "/v1/events"
SILENCE_S = 45.0
"""A stream that shows no sign of life for so long is given up; the server gives one every 15 s."""
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
KNOWN_TYPES = frozenset((*get_args(PaymentEventType), *get_args(InvoiceEventType)))


@dataclass(slots=True)
class Frame:
    """What was said between two empty lines."""

    id: str = ""
    type: str = ""
    data: str = ""
    retry_s: float | None = None


class EventStream(Connection):
    """Listens to the user's events."""

    async def events(self, *, after: str | None = None) -> AsyncGenerator[Event]:
        """Listen to what happens to the user's payments and invoices: from now on, or after an event.

        It connects again, after the last event, whenever the stream ends or breaks. Close what you listen with
        (`contextlib.aclosing`): a user has only so many places.

        Raises:
            RateLimited: the user has as many listeners as may be.
            ValidationFailed; any Fault: the policy's tries in a row were in vain.

        """
        fields.require([("after", fields.event_id_error(after))])
        tries, token, was_refused = 0, await self._token.get(), False
        pause_s: float | None = None
        while True:
            try:
                async with self._listen(token, after) as response:
                    if response.status == 200:
                        async for frame in read_frames(response.content):
                            # Only a stream that says something was worth the try.
                            tries, was_refused = 0, False
                            after, pause_s = frame.id or after, frame.retry_s or pause_s
                            if event := read_event(frame):
                                yield event
                        ended = ServerUnreachable("The stream of events ended.")
                        failure = Failure(ended, may_repeat=True)
                    else:
                        text = (await response.read()).decode(errors="replace")
                        failure = judge(Reply(response.status, response.headers, text), changes=False)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                failure = no_answer(error, was_sent=True, changes=False)
            if isinstance(failure.error, Unauthenticated) and not was_refused:
                newer = await self._token.get(refused=token)
                if newer != token:
                    token, was_refused = newer, True
                    continue
            tries += 1
            if not failure.may_repeat or tries > self._policy.retries:
                raise failure.error
            await self._clock.sleep(self._policy.pause_s(tries, failure.retry_after_s or pause_s))

    def _listen(self, token: str, after: str | None) -> aiohttp.client._RequestContextManager:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        timeout = aiohttp.ClientTimeout(sock_connect=self._policy.timeout_s, sock_read=SILENCE_S)
        return self._require_session().get(
            URL(self._url + PATH, encoded=True),
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            raise_for_status=False,
        )


async def read_frames(lines: AsyncIterable[bytes]) -> AsyncIterator[Frame]:
    """Read what was said, frame by frame. One that was cut off is not said."""
    frame = Frame()
    async for line in lines:
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            yield frame
            frame = Frame()
            continue
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            frame.id = value
        elif name == "event":
            frame.type = value
        elif name == "data":
            frame.data += value
        elif name == "retry" and value.isascii() and value.isdigit():
            frame.retry_s = int(value) / 1000


def read_event(frame: Frame) -> Event | None:
    """Read the event of a frame; None for a sign of life, and for what only a newer client knows.

    Raises:
        UnexpectedAnswer: it is an event that is known here, and cannot be read.

    """
    if not frame.data or frame.type not in KNOWN_TYPES:
        return None
    try:
        return EVENT.validate_json(frame.data, extra="ignore")
    except ValidationError as error:
        # To pass it over would be to lose it: what comes next goes on after it.
        raise UnexpectedAnswer(f"The event {frame.id} cannot be read.") from error
