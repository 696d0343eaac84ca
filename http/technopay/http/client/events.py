"""Events of a user or of all users: one stream (server-sent events) after the other, without a gap between."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

import aiohttp
from pydantic import TypeAdapter, ValidationError

from technopay.engine import fields
from technopay.engine.events.subjects import IS_EVENT
from technopay.engine.models import Event
from technopay.http.client.errors import ServerUnreachable, UnexpectedAnswer
from technopay.http.client.retries import Failure, Reply, classify, no_reply
from technopay.http.client.transport import Transport
from technopay.http.problems import Unauthenticated

PATH, ALL_PATH = "/v1/events", "/v1/admin/events"
SILENCE_S = 45.0
"""A stream without a byte for so long is given up; the server sends a ping every 15 s."""
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(slots=True)
class Frame:
    """The lines between two empty lines."""

    id: str = ""
    type: str = ""
    data: str = ""
    retry_s: float | None = None


class AllEvents:
    """The events of all users, from a client."""

    def __init__(self, transport: Transport, path: str, after: str | None) -> None:
        self.cursor = after
        """Where to resume: behind the last event; None until the stream has begun."""
        self._frames = receive(transport, path, after)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        async for frame in self._frames:
            self.cursor = frame.id or self.cursor
            if event := read_event(frame):
                return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._frames.aclose()


async def listen(transport: Transport, after: str | None) -> AsyncGenerator[Event]:
    """Yield the events of a user from now on, or after an event."""
    fields.require([("after", fields.event_id_error(after))])
    async with aclosing(receive(transport, PATH, after)) as frames:
        async for frame in frames:
            if event := read_event(frame):
                yield event


async def receive(transport: Transport, path: str, after: str | None) -> AsyncGenerator[Frame]:
    """Yield the frames of a stream; reconnect until the policy's tries in a row have failed."""
    policy = transport.policy
    timeout = aiohttp.ClientTimeout(sock_connect=policy.timeout_s, sock_read=SILENCE_S)
    tries, token, was_refused = 0, await transport.token.get(), False
    pause_s: float | None = None
    while True:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        try:
            async with transport.send("GET", path, headers, timeout) as response:
                if response.status == 200:
                    async for frame in read_frames(response.content):
                        # Only a stream that sends something was a success.
                        tries, was_refused = 0, False
                        after, pause_s = frame.id or after, frame.retry_s or pause_s
                        yield frame
                    failure = Failure(ServerUnreachable("The stream of events ended."), may_retry=True)
                else:
                    text = (await response.read()).decode(errors="replace")
                    failure = classify(Reply(response.status, response.headers, text), changes=False)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            failure = no_reply(error, was_sent=True, changes=False)
        if isinstance(failure.error, Unauthenticated) and not was_refused:
            newer = await transport.token.get(refused=token)
            if newer != token:
                token, was_refused = newer, True
                continue
        tries += 1
        if not failure.may_retry or tries > policy.retries:
            raise failure.error
        await transport.clock.sleep(policy.pause_s(tries, failure.retry_after_s or pause_s))


async def read_frames(lines: AsyncIterable[bytes]) -> AsyncIterator[Frame]:
    """Yield complete frames; an incomplete one at the end is dropped."""
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
    """Return the event of a frame; None for a ping, and for a type that only a newer client knows.

    Raises UnexpectedAnswer if it has a known type and cannot be read.
    """
    if not frame.data or frame.type not in IS_EVENT:
        return None
    try:
        return EVENT.validate_json(frame.data, extra="ignore")
    except ValidationError as error:
        # To skip it would lose it: the stream goes on after it.
        raise UnexpectedAnswer(f"The event {frame.id} cannot be read.") from error
