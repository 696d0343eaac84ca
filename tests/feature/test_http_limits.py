"""The limits of a process: connections, running requests, and the time of a handler."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import Api, Person, make_person, right_code, running_api
from support.fixtures.raw_http import PATIENCE_S, Served, Told, heard, request, served

from technopay.http.server import connection
from technopay.http.server.serving import CONCURRENCY
from technopay.storage import RedisStore

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATIENT = {"keepalive_s": 60.0, "head_deadline_s": 60.0, "body_deadline_s": 60.0, "write_deadline_s": 60.0}
BODY_TO_COME = (b"Content-Type: application/json", b"Content-Length: 2")
"""A request with such a body holds its place until the body comes."""
READ = request("GET /v1/wallets")


@pytest.fixture
async def alice(api: Api) -> Person:
    return await make_person(api)


async def ask(wire: Wire, raw: bytes) -> Told:
    """Send a request on a connection that stays open; return the response."""
    wire[1].write(raw)
    head = await wire[0].readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
    return Told(head + await wire[0].readexactly(int(length.partition(b" ")[2])))


@asynccontextmanager
async def held(server: Served, count: int) -> AsyncIterator[list[Wire]]:
    """Hold connections that had a response, so that the server has registered them."""
    async with AsyncExitStack() as stack:
        wires = []
        for _ in range(count):
            wire = await server.open()
            stack.callback(wire[1].close)
            assert (await ask(wire, READ)).status == 200
            wires.append(wire)
        yield wires


@asynccontextmanager
async def busy(server: Served, count: int) -> AsyncIterator[list[Wire]]:
    """Hold connections amid a request; the response follows its body `{}`."""

    async def are_busy() -> bool:
        return server.app[CONCURRENCY].running == count

    async with held(server, count) as wires:
        for _, writer in wires:
            writer.write(request("POST /v1/payments/x/cancel", *BODY_TO_COME))
        await wait_for(are_busy)
        yield wires


async def test_beyond_the_bound_of_connections_only_what_is_open_to_all_is_answered(
    api: Api, alice: Person
) -> None:
    async with served(api.engine, connections_max=3, **PATIENT) as server:
        async with busy(server, 3) as wires:
            for path in ("/livez", "/readyz"):
                told = await server_says(server, request(f"GET {path}"))
                assert (told.status, told.problem["status"]) == (200, "ok")
                assert "Connection: close" in told.head
            told = await server_says(server, READ)
            assert_overloaded(told)
            assert (await ask(wires[0], b"{}")).status == 404

        async def is_served() -> bool:
            return (await server_says(server, request("GET /v1/wallets", close=True))).status == 200

        await wait_for(is_served)


async def server_says(server: Served, raw: bytes) -> Told:
    """Send bytes on a new connection; return the reply until the server closes."""
    reader, writer = await server.open()
    writer.write(raw)
    told = await heard(reader)
    writer.close()
    return told


def assert_overloaded(told: Told) -> None:
    assert (told.status, told.problem["code"], told.problem["retryable"]) == (503, "overloaded", True)
    assert "Retry-After: 1" in told.head
    assert "Connection: close" in told.head
    assert "Cache-Control: no-store" in told.head
    assert f"X-Request-Id: {told.problem['request_id']}" in told.head


async def test_beyond_the_reserve_connections_are_answered_without_being_heard(api: Api, alice: Person) -> None:
    async with (
        served(api.engine, connections_max=1, **PATIENT) as server,
        busy(server, 1) as (wire,),
        AsyncExitStack() as stack,
    ):
        for _ in range(connection.RESERVE):
            reserve = await server.open()
            stack.callback(reserve[1].close)
            # The server waits for the rest of this request, too.
            assert (await ask(reserve, request("GET /livez", b"Content-Length: 2"))).status == 200
        crowd = await asyncio.gather(*(server_says(server, b"") for _ in range(100)))
        for told in crowd:
            assert_overloaded(told)
        assert_overloaded(await server_says(server, request("GET /livez")))
        assert (await ask(wire, b"{}")).status == 404


async def test_the_reserve_is_not_held_by_silence(
    api: Api, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RESERVE_DEADLINE_S", 0.05)
    async with served(api.engine, connections_max=1, **PATIENT) as server, busy(server, 1):
        silent = await asyncio.gather(*(server_says(server, b"") for _ in range(connection.RESERVE)))
        assert {told.raw for told in silent} == {b""}
        assert (await server_says(server, request("GET /livez"))).status == 200


async def test_for_one_connection_more_the_one_that_is_idle_for_longest_is_closed(
    api: Api, alice: Person
) -> None:
    async with served(api.engine, connections_max=4, **PATIENT) as server, held(server, 4) as wires:
        wires[0][1].write(request("POST /v1/payments/x/cancel", *BODY_TO_COME))
        assert (await ask(wires[1], READ)).status == 200
        # The first is busy now, and the second is the last used of the others.
        async with held(server, 2):
            assert {(await heard(reader)).raw for reader, _ in wires[2:]} == {b""}
            assert (await ask(wires[0], b"{}")).status == 404
            assert (await ask(wires[1], READ)).status == 200


async def test_idle_connections_keep_nobody_out(api: Api, alice: Person) -> None:
    async with served(api.engine, connections_max=50, **PATIENT) as server, AsyncExitStack() as stack:
        for _ in range(66):
            stack.callback((await server.open())[1].close)
        for path in ("/livez", "/readyz", "/v1/wallets"):
            assert (await server_says(server, request(f"GET {path}", close=True))).status == 200


async def test_an_idle_connection_is_kept_for_its_time_and_a_silent_one_for_less(
    api: Api, alice: Person
) -> None:
    async with served(api.engine, **PATIENT | {"head_deadline_s": 0.2}) as server, held(server, 1) as (wire,):
        assert (await server_says(server, b"")).raw == b""
        assert (await ask(wire, READ)).status == 200
    async with (
        served(api.engine, **PATIENT | {"keepalive_s": 0.4, "head_deadline_s": 0.3}) as server,
        held(server, 1) as (wire,),
    ):
        assert (await heard(wire[0])).raw == b""


async def talk_on(writer: asyncio.StreamWriter) -> None:
    """Send until the connection is cut off."""

    async def talk() -> None:
        while True:
            writer.write(b"and still I talk")
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(talk(), PATIENCE_S)
    writer.close()


@pytest.mark.parametrize("deadline_s", [0.05, 3_600.0], ids=["deadline", "end of the server"])
async def test_a_refused_client_that_stays_is_cut_off(
    api: Api, alice: Person, monkeypatch: pytest.MonkeyPatch, deadline_s: float
) -> None:
    monkeypatch.setattr(connection, "RESERVE", 0)
    monkeypatch.setattr(connection, "REJECTED_DEADLINE_S", deadline_s)
    async with served(api.engine, connections_max=1, **PATIENT) as server, busy(server, 1):
        reader, writer = await server.open()
        assert_overloaded(await heard(reader))
        if deadline_s < 1:
            await talk_on(writer)
    if deadline_s > 1:
        await talk_on(writer)


BEGIN = request(
    "POST /v1/payments", b"Content-Type: application/json", b"Content-Length: 2", body=b"{}", close=True
)


def get(path: str) -> bytes:
    return request(f"GET {path}", close=True)


@pytest.mark.parametrize(
    ("bound", "running", "refused", "status", "served_still"),
    [
        (
            {"requests_max": 2},
            2,
            [get("/v1/wallets"), get("/v1/payments/x?wait=10")],
            503,
            [get("/livez"), get("/readyz"), get("/metrics")],
        ),
        ({"requests_max": 4}, 3, [BEGIN], 503, [get("/v1/wallets")]),
        ({"requests_per_user_max": 1}, 1, [get("/v1/wallets")], 429, [get("/v1/admin/limits")]),
    ],
    ids=["health goes on", "an accepted request goes on", "other users go on"],
)
async def test_requests_beyond_a_bound_are_refused_at_once(
    api: Api,
    alice: Person,
    bound: dict[str, int],
    running: int,
    refused: list[bytes],
    status: int,
    served_still: list[bytes],
) -> None:
    async with served(api.engine, **PATIENT, **bound) as server:
        assert (await server_says(server, BEGIN)).status == 422, "it is let in, and is read"
        async with busy(server, running):
            for raw in refused:
                told = await server_says(server, raw)
                code = "overloaded" if status == 503 else "rate_limited"
                assert (told.status, told.problem["code"]) == (status, code)
                assert "Retry-After: 1" in told.head
            for raw in served_still:
                assert (await server_says(server, raw)).status == 200


@pytest.fixture
async def patient(fake_store: RedisStore) -> AsyncIterator[Api]:
    """An API whose engine sets nothing aside."""
    async with running_api(fake_store, settlement_silence_s=3_600) as running:
        yield running


async def test_waits_take_no_place_of_requests_and_end_with_their_connections(patient: Api) -> None:
    alice = await make_person(patient)
    payment = await alice.start(merchant="shop-stuck")
    (await alice.confirm(payment, "?wait=0")).expect(202)
    wait = request(f"GET /v1/payments/{payment['id']}?wait=10", close=True)
    bounds = {"requests_max": 1, "requests_per_user_max": 1, "waits_per_user_max": 2}
    async with served(patient.engine, **bounds, **PATIENT) as server:

        async def wait_for_waits(count: int) -> None:
            async def is_reached() -> bool:
                concurrency = server.app[CONCURRENCY]
                waits = concurrency._waits, len(concurrency._waits_by_user)
                return (*waits, concurrency.running) == (count, min(count, 1), 0)

            await wait_for(is_reached)

        for _ in range(2):
            waiting = [(await server.open())[1] for _ in range(2)]
            for number, writer in enumerate(waiting):
                writer.write(wait)
                await wait_for_waits(number + 1)
            told = await server_says(server, wait)
            assert (told.status, told.problem["status"]) == (200, "processing")
            assert "Retry-After: 1" in told.head, "one wait too many is answered at once"
            assert (await server_says(server, get("/v1/wallets"))).status == 200
            for writer in waiting:
                writer.close()
            await wait_for_waits(0)


async def test_a_confirm_without_a_free_wait_is_done_and_answered_at_once(patient: Api) -> None:
    api, alice = patient, await make_person(patient)
    payment = await alice.start(merchant="shop-stuck")
    body = b'{"code": "%s"}' % (await right_code(api, payment)).encode()
    lines = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    async with served(api.engine, waits_max=0, **PATIENT) as server, held(server, 1) as (wire,):
        path = f"/v1/payments/{payment['id']}"
        told = await ask(wire, request(f"POST {path}/confirm?wait=10", *lines, body=body))

        assert (told.status, told.problem["status"]) == (202, "processing")
        assert f"Location: {path}" in told.head
        assert "Retry-After: 1" in told.head
    assert await alice.balance() == 7_500


async def test_streams_take_no_place_of_other_requests(api: Api, alice: Person) -> None:
    async with served(api.engine, requests_max=1, **PATIENT) as server, held(server, 1) as (wire,):
        reader, writer = await server.open()
        writer.write(request("GET /v1/events"))
        await reader.readuntil(b"retry: 1000\n")
        assert (await ask(wire, READ)).status == 200
        writer.close()


async def test_a_long_body_comes_whole_in_its_pieces_and_not_at_all_when_only_its_head_is_asked_for(
    api: Api,
) -> None:
    async with served(api.engine, write_deadline_s=0.1, head_deadline_s=60.0) as server:
        page = await server_says(server, request("GET /docs", close=True))
        part = next(found for found in page.raw.decode().split('"') if "bundle" in found)
        whole = await server_says(server, request(f"GET /{part}", close=True))
        assert len(whole.raw) > 1_000_000
        head = await server_says(server, request(f"HEAD /{part}", close=True))
        length = len(whole.raw.partition(b"\r\n\r\n")[2])
        assert f"Content-Length: {length}" in head.head
        assert head.raw.endswith(b"\r\n\r\n")


async def test_a_handler_that_takes_too_long_is_answered_that_the_outcome_is_unknown(
    api: Api, alice: Person
) -> None:
    payment = await alice.start()
    async with served(api.engine, request_deadline_s=0.05) as server:
        told = await server.say(request(f"GET /v1/payments/{payment['id']}?wait=10", close=True))

        assert (told.status, told.problem["code"]) == (504, "outcome_unknown")
        assert server.app[CONCURRENCY].running == 0
