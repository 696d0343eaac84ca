"""How the client listens: what it reads, when it connects again and from where, and when it gives up."""

from __future__ import annotations

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
from technopay.engine.models import Event, from_ms
from technopay.http.client import Client, ServerUnreachable, UnexpectedAnswer
from technopay.http.problems import Unauthenticated


def event(number: int) -> PaymentEvent:
    return PaymentEvent(
        id=f"evt_00{number}-0",
        type="payment.started",
        at=from_ms(number),
        version=number,
        payment=make_payment(),
    )


def frame(number: int) -> str:
    told = event(number)
    return f"id: {told.id}\nevent: {told.type}\ndata: {told.model_dump_json()}\n\n"


def stream(*frames: str) -> Scripted:
    return Scripted(200, "".join(frames), {"Content-Type": "text/event-stream"})


async def take(client: Client, count: int, after: str | None = None) -> list[Event]:
    taken = []
    async with aclosing(client.events(after=after)) as events:
        async for told in events:
            taken.append(told)
            if len(taken) == count:
                break
    return taken


def places(server: ScriptedServer) -> list[str | None]:
    return [asked.headers.get("Last-Event-ID") for asked in server.asked]


async def test_it_goes_on_after_the_last_event(
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
    # As long as the stream asked, again and again, or longer where an answer asks for that.
    assert clock.slept == [2.0, 2.0, 3.0]


async def test_it_begins_after_the_event_that_it_is_given(client: Client, server: ScriptedServer) -> None:
    server.script = [stream(frame(8))]

    await take(client, 1, after="evt_007-0")

    assert places(server) == ["evt_007-0"]
    with pytest.raises(ValidationFailed):
        await take(client, 1, after="7")


async def test_a_frame_that_was_cut_off_is_not_told(client: Client, server: ScriptedServer) -> None:
    server.script = [stream(frame(1), frame(2)[:-1]), stream(frame(2))]

    assert await take(client, 2) == [event(1), event(2)]

    assert places(server) == [None, "evt_001-0"]


async def test_what_only_a_newer_client_knows_is_passed_over(client: Client, server: ScriptedServer) -> None:
    newer = frame(1).replace("payment.started", "payment.painted")
    more = frame(2).replace('"version"', '"colour":"red","version"')
    server.script = [stream(newer, more)]

    assert await take(client, 1) == [event(2)]


async def test_an_event_that_is_known_and_cannot_be_read_is_not_passed_over(
    client: Client, server: ScriptedServer
) -> None:
    server.script = [stream(frame(1), frame(2).replace('"version":2', '"version":"two"'), frame(3))]

    with pytest.raises(UnexpectedAnswer):
        await take(client, 2)


@pytest.mark.parametrize("failure", [RESET, stream(), Scripted(502, HTML)])
async def test_it_gives_up_after_as_many_tries_in_a_row_as_a_call_has(
    client: Client, server: ScriptedServer, clock: RecordedClock, failure: Scripted | str
) -> None:
    server.script = [stream(frame(1)), failure]

    with pytest.raises(ServerUnreachable) as raised:
        await take(client, 2)

    assert isinstance(raised.value, StoreUnavailable)
    assert len(clock.slept) == 3


async def test_a_refusal_is_raised(client: Client, server: ScriptedServer) -> None:
    server.script = [problem("rate_limited")]

    with pytest.raises(RateLimited):
        await take(client, 1)

    assert len(server.asked) == 1


async def test_a_refused_token_is_asked_for_again_once(server: ScriptedServer, clock: RecordedClock) -> None:
    refusal = problem("unauthenticated")
    async with Client(server.url, Tokens(), clock=clock) as client:
        server.script = [refusal, stream(frame(1)), refusal, stream(frame(2))]
        assert await take(client, 2) == [event(1), event(2)]
        server.script = [refusal]
        with pytest.raises(Unauthenticated):
            await take(client, 1)

    assert [asked.headers["Authorization"][-1] for asked in server.asked] == list("122334")
