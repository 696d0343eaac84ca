"""The server: bounds, addresses, and an end that waits for what runs, but not for ever."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import aiohttp.http_parser
import pytest
from aiohttp import web

from technopay.engine import Overloaded, RateLimited
from technopay.http import listening
from technopay.http.admission import Admission
from technopay.http.app import ADMISSION
from technopay.http.listening import listen
from technopay.http.pressure import LATE_S, LOOK_EVERY_S
from technopay.http.server import serving, serving_on

ANSWERED = web.AppKey("answered", list[str])


def make_app() -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        request.app[ANSWERED].append("hello")
        return web.Response(text="hello")

    app = web.Application()
    app[ANSWERED] = []
    app[ADMISSION] = Admission(10)
    app.add_routes([web.get("/", hello)])
    return app


async def test_port_0_takes_any_free_port_and_tells_it() -> None:
    async with (
        serving(make_app(), "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/") as response,
    ):
        assert (host, await response.text()) == ("127.0.0.1", "hello")
        assert port > 0


def test_the_parser_is_the_one_that_was_tried() -> None:
    # Two parsers of one protocol disagree somewhere; the one in Python is not what our tests attack.
    parsers = aiohttp.http_parser
    assert parsers.HttpRequestParser is not parsers.HttpRequestParserPy


async def test_servers_on_one_socket_take_turns_and_leave_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "TURN_S", 1_000.0)
    (shared,) = await listen("127.0.0.1", 0)
    apps = [make_app(), make_app()]
    with shared:
        async with (
            serving_on(apps[0], [shared.dup()]) as address,
            serving_on(apps[1], [shared.dup()]) as same_address,
            aiohttp.ClientSession() as one,
            aiohttp.ClientSession() as two,
        ):
            assert address == same_address == shared.getsockname()
            for session in (one, two):
                # Whoever took the first does not take the second: that one would wait here.
                async with session.get(f"http://127.0.0.1:{address[1]}/") as response:
                    assert await response.text() == "hello"
            assert [app[ANSWERED] for app in apps] == [["hello"], ["hello"]]

        # Who connects now waits in line for whoever comes.
        _, writer = await asyncio.open_connection(*address)
        writer.close()


async def test_after_the_end_nobody_listens() -> None:
    app = make_app()
    async with serving(app, "127.0.0.1", 0) as (host, port):
        pass

    assert app[ADMISSION].draining
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    async with serving(make_app(), "127.0.0.1", 0) as (host, port):
        with pytest.raises(OSError, match="address already in use"):
            async with serving(make_app(), host, port):
                pass


async def test_a_drain_waits_for_what_runs() -> None:
    admission = Admission(10)
    admission.enter()
    draining = asyncio.create_task(admission.drain(10))
    await asyncio.wait([draining], timeout=0.05)
    assert admission.draining
    assert not draining.done()
    admission.leave()
    await draining


async def test_a_drain_does_not_wait_for_ever() -> None:
    admission = Admission(10)
    began = time.monotonic()
    admission.enter()
    await admission.drain(0.05)
    assert 0.05 <= time.monotonic() - began < 5


async def test_a_drain_with_nothing_to_wait_for_is_over_at_once_and_takes_nothing_new() -> None:
    admission = Admission(10)
    admission.enter()
    admission.leave()
    await admission.drain(10)

    with pytest.raises(Overloaded, match="about to end"):
        admission.enter()


async def test_no_more_than_the_bound_are_let_in_at_a_time() -> None:
    admission = Admission(2)
    admission.enter()
    admission.enter()
    with pytest.raises(Overloaded):
        admission.enter()
    admission.leave()
    admission.enter()
    assert admission.running == 2


async def test_what_begins_something_leaves_places_for_what_finishes() -> None:
    admission = Admission(8)
    for _ in range(6):
        admission.enter(begins=True)
    with pytest.raises(Overloaded):
        admission.enter(begins=True)
    admission.enter()
    admission.enter()
    with pytest.raises(Overloaded):
        admission.enter()


async def test_a_late_loop_lets_fewer_in_until_it_is_in_time_again() -> None:
    admission = Admission(1_000)
    watching = asyncio.create_task(admission.watch_pressure())
    for _ in range(300):
        admission.enter()
    await asyncio.sleep(0)

    time.sleep(LOOK_EVERY_S + 3 * LATE_S)  # noqa: ASYNC251 - it is what makes the loop late
    async with asyncio.timeout(10):
        while admission.allowed == 1_000:  # noqa: ASYNC110
            await asyncio.sleep(0)

    assert admission.allowed == 270
    with pytest.raises(Overloaded):
        admission.enter()
    async with asyncio.timeout(10):
        while admission.allowed < 1_000:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)
    admission.enter()
    watching.cancel()


async def test_no_user_takes_the_place_of_all_others() -> None:
    admission = Admission(10, requests_per_user_max=2)
    admission.enter_for("alice")
    admission.enter_for("alice")
    with pytest.raises(RateLimited) as refused:
        admission.enter_for("alice")
    assert refused.value.retry_after_s == 1.0
    admission.enter_for("bob")
    admission.leave_for("alice")
    admission.enter_for("alice")


async def test_a_stream_takes_no_requests_place_and_a_drain_waits_for_it() -> None:
    admission = Admission(1)
    admission.enter()
    with admission.as_stream():
        assert admission.running == 0
        admission.enter()
        admission.leave()
        draining = asyncio.create_task(admission.drain(10))
        await asyncio.wait([draining], timeout=0.05)
        assert not draining.done()
    admission.leave()
    await draining
    assert admission.running == 0


async def test_a_wait_takes_no_place_of_its_users_requests_and_a_drain_waits_for_it() -> None:
    admission = Admission(1, requests_per_user_max=1, waits_max=2, waits_per_user_max=1)
    admission.enter()
    admission.enter_for("alice")
    assert admission.begin_wait("alice")
    assert not admission.begin_wait("alice"), "a user has only so many waits"
    admission.enter()
    admission.enter_for("alice")
    admission.leave_for("alice")
    admission.enter_for("bob")
    assert admission.begin_wait("bob")
    assert not admission.begin_wait("carol"), "and so has the server"
    admission.end_wait("bob")
    admission.leave_for("bob")
    admission.leave()
    draining = asyncio.create_task(admission.drain(10))
    await asyncio.wait([draining], timeout=0.05)
    assert not draining.done()
    admission.end_wait("alice")
    assert admission.begin_wait("alice")
    admission.end_wait("alice")
    admission.leave_for("alice")
    admission.leave()
    await draining
    assert (admission.running, admission._by_user, admission._waits_by_user) == (0, {}, {})
