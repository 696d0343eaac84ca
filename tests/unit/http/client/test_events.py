"""The event streams of the client: their frames, the place and pause of a reconnection, and their end."""

from contextlib import aclosing

import pytest
from support.fixtures.doubles import make_payment
from support.servers.scripted_server import (
    HTML,
    RESET,
    RecordedClock,
    Scripted,
    ScriptedServer,
    Tokens,
    problem,
)

from technopay.engine import PaymentEvent, RateLimited, StoreUnavailable, ValidationFailed
from technopay.engine.models import Event
from technopay.engine.record import from_ms
from technopay.http.client import Client, ServerUnreachable, UnexpectedAnswer
from technopay.http.problems import Unauthenticated


def event(number: int) -> PaymentEvent:
    about = {"type": "payment.started", "at": from_ms(number), "version": number}
    return PaymentEvent(id=f"evt_00{number}-0", payment=make_payment(), **about)


def frame(number: int) -> str:
    sent = event(number)
    return f"id: {sent.id}\nevent: {sent.type}\ndata: {sent.model_dump_json()}\n\n"


def stream(*frames: str) -> Scripted:
    return Scripted(200, "".join(frames), {"Content-Type": "text/event-stream"})


async def take(client: Client, count: int, after: str | None = None) -> list[Event]:
    taken = []
    async with aclosing(client.events(after=after)) as events:
        async for each in events:
            taken.append(each)
            if len(taken) == count:
                break
    return taken


def places(server: ScriptedServer) -> list[str | None]:
    return [asked.headers.get("Last-Event-ID") for asked in server.asked]


async def test_a_stream_is_resumed_after_the_last_event(
    client: Client, server: ScriptedServer, clock: RecordedClock
) -> None:
    server.script = [
        stream("retry: 2000\n\n", frame(1), ": ping\n\n", frame(2)),
        Scripted(502, HTML),
        problem("store_unavailable", headers={"Retry-After": "3"}),
        stream(frame(3)),
    ]

    assert await take(client, 3) == [event(1), event(2), event(3)]

    assert places(server) == [None, "evt_002-0", "evt_002-0", "evt_002-0"]
    assert {asked.path for asked in server.asked} == {"/v1/events"}
    # The pause of the stream's retry field, or a longer one from a response.
    assert clock.slept == [2.0, 2.0, 3.0]


async def test_a_stream_begins_after_a_given_event(client: Client, server: ScriptedServer) -> None:
    server.script = [stream(frame(8))]

    await take(client, 1, after="evt_007-0")

    assert places(server) == ["evt_007-0"]
    with pytest.raises(ValidationFailed):
        await take(client, 1, after="7")


async def test_a_frame_that_was_cut_off_is_read_again(client: Client, server: ScriptedServer) -> None:
    server.script = [stream(frame(1), frame(2)[:-1]), stream(frame(2))]

    assert await take(client, 2) == [event(1), event(2)]

    assert places(server) == [None, "evt_001-0"]


async def test_an_unknown_event_or_member_is_ignored_and_an_unreadable_event_is_an_error(
    client: Client, server: ScriptedServer
) -> None:
    newer = frame(1).replace("payment.started", "payment.painted")
    more = frame(2).replace('"version"', '"colour":"red","version"')
    unreadable = frame(3).replace('"version":3', '"version":"three"')
    server.script = [stream(newer, more, unreadable, frame(4))]

    assert await take(client, 1) == [event(2)]
    with pytest.raises(UnexpectedAnswer):
        await take(client, 2)


@pytest.mark.parametrize("failure", [RESET, stream(), Scripted(502, HTML)])
async def test_the_tries_in_a_row_are_bounded_as_those_of_a_call_and_a_refusal_is_raised_at_once(
    client: Client, server: ScriptedServer, clock: RecordedClock, failure: Scripted | str
) -> None:
    server.script = [stream(frame(1)), failure]

    with pytest.raises(ServerUnreachable) as raised:
        await take(client, 2)

    assert isinstance(raised.value, StoreUnavailable)
    assert len(clock.slept) == 3
    server.script = [problem("rate_limited")]
    with pytest.raises(RateLimited):
        await take(client, 1)
    assert len(clock.slept) == 3


async def test_a_refused_token_is_asked_for_again_once(server: ScriptedServer, clock: RecordedClock) -> None:
    refusal = problem("unauthenticated")
    async with Client(server.url, Tokens(), clock=clock) as client:
        server.script = [refusal, stream(frame(1)), refusal, stream(frame(2))]
        assert await take(client, 2) == [event(1), event(2)]
        server.script = [refusal]
        with pytest.raises(Unauthenticated):
            await take(client, 1)

    assert [asked.headers["Authorization"][-1] for asked in server.asked] == list("122334")
