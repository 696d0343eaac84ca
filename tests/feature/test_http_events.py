"""The stream of events: live, resumed after any event, bounded, and ended cleanly."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.engine_setup import SECRET, quick_settings, wait_for
from support.fixtures.event_stream import Listener, Told, listening
from support.fixtures.http_api import (
    INVOICE,
    PAYMENT,
    Api,
    Person,
    inbox,
    make_person,
    right_code,
    running_api,
    wrong,
)

from technopay.engine import Engine
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.server.limits import ServerLimits
from technopay.http.server.serving import CONCURRENCY, serving
from technopay.storage import RedisStore

PURCHASE = [("payment.started", 1), ("payment.processing", 2), ("payment.succeeded", 3)]
BEGINNING = "evt_000-0"


async def all_free(api: Api) -> None:
    """Wait until no stream is open."""

    async def look() -> bool:
        return api.engine.statistics.listeners == 0

    await wait_for(look)


async def test_a_purchase_is_a_stream_of_events_as_it_happens(any_api: Api) -> None:
    alice = await make_person(any_api)
    async with listening(any_api) as events:
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert events.response.headers["Cache-Control"] == "no-store"
        assert events.response.headers["X-Accel-Buffering"] == "no"
        paid = await alice.pay()
        told = await events.take(4)

    assert [each.change for each in told] == [("invoice.created", 1), *PURCHASE]
    for each in told:
        shown = "invoice" if each.type.startswith("invoice.") else "payment"
        assert set(each.data) == {"id", "type", "at", "version", shown}
        assert (each.data["id"], each.data["type"]) == (each.id, each.type)
        assert set(each.data[shown]) == (INVOICE if shown == "invoice" else PAYMENT)
    assert told[0].data["invoice"]["id"] == paid["invoice_id"]
    assert told[-1].data["payment"] == paid
    assert told[2].data["at"] == paid["paid_at"]
    [message] = await inbox(any_api, "alice", "payment.succeeded")
    assert message["event_id"] == told[3].id


async def test_a_stream_that_is_cut_off_before_its_first_event_goes_on_after_its_beginning(api: Api) -> None:
    alice = await make_person(api)
    await alice.pay()
    async with listening(api) as events:
        begins_after = events.begins_after
    await alice.pay()
    async with listening(api, after=begins_after) as events:
        assert events.begins_after == begins_after
        told = await events.take(4)
    assert [each.change for each in told] == [("invoice.created", 1), *PURCHASE]


async def test_a_change_by_this_process_is_an_event_at_once_with_its_version(fake_store: RedisStore) -> None:
    """Without reading the changes of other processes. A wrong code is no event."""
    async with running_api(fake_store, events_interval_s=3_600) as api:
        alice = await make_person(api, balance=2_500)
        async with listening(api) as events:
            payment = await alice.start()
            (await alice.post(f"/payments/{payment['id']}/resend")).expect(200)
            told = await events.take(3)
            (await api.operate("PUT", "/limits/EUR", {"amount": 0})).expect(200)
            code = await right_code(api, payment, issue=2)
            (await alice.confirm(payment, code=code)).refuse(402, "daily_limit_exceeded")
            told += await events.take(1)
            (await alice.confirm(payment, code=wrong(code))).refuse(422, "confirmation_invalid")
            (await alice.post(f"/payments/{payment['id']}/cancel")).expect(200)
            told += await events.take(1)
            invoice = await alice.invoice()
            told += await events.take(1)
            (await api.operate("POST", f"/invoices/{invoice['id']}/void")).expect(200)
            told += await events.take(1)
    assert [each.change for each in told] == [
        ("invoice.created", 1), ("payment.started", 1), ("payment.code_resent", 2), ("payment.refused", 3),
        ("payment.canceled", 4), ("invoice.created", 1), ("invoice.voided", 2),
    ]  # fmt: skip
    assert told[4].data["payment"]["confirmation"] is None
    assert told[6].data["invoice"]["status"] == "void"


async def test_a_resolution_for_operators_is_in_no_event(api: Api) -> None:
    alice = await make_person(api)
    payment = (await alice.confirm(await alice.start(merchant="shop-stuck"), "?wait=0")).expect(202)

    async def is_set_aside() -> bool:
        found = await api.operate("GET", f"/payments/{payment['id']}")
        return bool(found.expect(200)["set_aside"])

    await wait_for(is_set_aside)
    body = {"outcome": "settled", "note": "they said so"}
    (await api.operate("POST", f"/payments/{payment['id']}/resolve", body)).expect(200)
    async with listening(api, after=BEGINNING) as events:
        told = await events.take(6)
    assert [each.change for each in told[2:]] == [
        ("payment.processing", 2), ("payment.set_aside", 3), ("payment.resolved", 4), ("payment.succeeded", 5),
    ]  # fmt: skip
    assert all("resolution" not in each.data.get("payment", {}) for each in told)


async def test_a_stream_has_the_events_of_its_user_alone(api: Api) -> None:
    people = [await make_person(api, user) for user in ("alice", "bob")]
    async with listening(api, "alice") as alices, listening(api, "bob") as bobs:
        await asyncio.gather(*(person.pay() for person in people for _ in range(3)))
        for events, person in ((alices, people[0]), (bobs, people[1])):
            told = await events.take(12)
            owners = {(each.data.get("payment") or each.data["invoice"])["user_id"] for each in told}
            assert owners == {person.id}


async def read_on(api: Api, after: str, count: int) -> list[Told]:
    """Receive a number of events."""
    async with listening(api, after=after) as events:
        return await events.take(count)


async def test_a_resumed_stream_has_every_event_once(valkey_url: str, namespace: str) -> None:
    purchases = 12

    async def buy(person: Person, number: int) -> None:
        for _ in range(number):
            await person.pay(amount=100)

    async def hear(apis: list[Api], count: int) -> list[Told]:
        told: list[Told] = []
        while len(told) < count:
            some = min(count - len(told), 1 + len(told) % 5)
            told += await read_on(apis[len(told) % 2], told[-1].id if told else BEGINNING, some)
        return told

    def open_store() -> RedisStore:
        return RedisStore.connect(valkey_url, initialise=True, namespace=namespace)

    async with (
        open_store() as one_store,
        open_store() as other_store,
        running_api(one_store) as one,
        running_api(other_store) as other,
    ):
        alice = await make_person(one)
        elsewhere = Person(other, alice.id, alice.wallet_id)
        hearing = asyncio.create_task(hear([one, other], 2 * purchases * 4))
        await asyncio.gather(buy(alice, purchases), buy(elsewhere, purchases))
        told = await hearing
        everything = await read_on(one, BEGINNING, 2 * purchases * 4)

    heard = [each.id for each in told]
    assert heard == [each.id for each in everything]
    assert len(set(heard)) == len(heard)
    versions: dict[str, list[int]] = {}
    for each in told:
        subject = each.data.get("payment") or each.data["invoice"]
        versions.setdefault(subject["id"], []).append(each.data["version"])
    assert len(versions) == 4 * purchases
    for subject_id, found in versions.items():
        assert found == ([1] if subject_id.startswith("inv_") else [1, 2, 3])


async def test_an_id_of_no_event_is_refused_as_a_position(api: Api) -> None:
    for after in ("", "evt_00", "evt_001-x", "evt_011-1", "1-1", "evt_001-1é"):
        reply = await api.get("/v1/events", headers={"Last-Event-ID": after})
        reply.refuse(400, "malformed_request")


async def test_an_id_behind_the_end_of_the_journal_is_an_unknown_position(api: Api) -> None:
    for _ in range(5):
        reply = await api.get("/v1/events", headers={"Last-Event-ID": "evt_0099999999999999-0"})
        reply.refuse(409, "event_position_unknown")


async def test_the_streams_of_a_user_are_bounded(api: Api) -> None:
    async with listening(api), listening(api), listening(api), listening(api), listening(api, "bob"):
        (await api.get("/v1/events")).refuse(429, "rate_limited")
    await all_free(api)
    async with listening(api):
        pass


async def test_a_client_that_leaves_makes_room_before_the_next_ping(api: Api) -> None:
    app = create_app(api.engine, TokenAuthenticator(SECRET), limits=ServerLimits(ping_interval_s=3_600))
    headers = {"Authorization": f"Bearer {api.token()}"}
    async with serving(app, "127.0.0.1", 0, drain_s=0.1) as (host, port):
        url = f"http://{host}:{port}/v1/events"
        async with ClientSession() as session, session.get(url, headers=headers) as response:
            assert await response.content.readline() == b"retry: 1000\n"
            assert api.engine.statistics.listeners == 1
        await all_free(api)


@pytest.fixture
async def bounded(request: pytest.FixtureRequest, fake_store: RedisStore) -> AsyncIterator[Api]:
    """The API with limits of its own, over sockets with small buffers."""

    def small_socket(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        sock.bind((host, port))
        return sock

    async with Engine(fake_store, quick_settings()) as engine:
        app = create_app(engine, TokenAuthenticator(SECRET), limits=ServerLimits(**request.param))
        server: Any = TestServer(app, socket_factory=small_socket)
        async with TestClient[web.Request, web.Application](server) as client:
            yield Api(client, engine, fake_store)


@pytest.mark.parametrize("bounded", [{"stream_s_max": 0.2}], indirect=True)
async def test_a_stream_ends_after_its_time_so_that_its_client_signs_in_again(bounded: Api) -> None:
    async with listening(bounded) as events:
        assert await events.next() is None
    await all_free(bounded)


@pytest.mark.parametrize("bounded", [{"ping_interval_s": 0.06, "request_deadline_s": 0.5}], indirect=True)
async def test_a_stream_without_events_has_pings_and_no_deadline(bounded: Api) -> None:
    alice = await make_person(bounded)
    async with listening(bounded) as events:
        for _ in range(10):
            await events.ping()
        await alice.invoice()
        assert [each.type for each in await events.take(1)] == ["invoice.created"]
        await events.ping()


@pytest.mark.parametrize("bounded", [{"write_deadline_s": 0.2}], indirect=True)
async def test_a_client_that_does_not_read_is_cut_off_and_goes_on_later(bounded: Api) -> None:
    alice, count = await make_person(bounded), 150
    for number in range(count):
        await alice.invoice(description=f"{number} {'x' * 490}")
    url = bounded.client.server.make_url("/")
    request = f"GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {BEGINNING}\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(slow, (url.host, url.port))
        sent = f"{request}Authorization: Bearer {bounded.token()}\r\n\r\n".encode()
        await asyncio.get_running_loop().sock_sendall(slow, sent)

        async def listens() -> bool:
            return bounded.engine.statistics.listeners == 1

        await wait_for(listens)
        await all_free(bounded)
        read = b""
        async with asyncio.timeout(10):
            while piece := await asyncio.get_running_loop().sock_recv(slow, 65_536):
                read += piece
    assert not read.endswith(b"0\r\n\r\n"), "it ended as if it were complete"
    opening, *ids = [
        line[4:].decode() for line in read.split(b"\n") if line.startswith(b"id: ") and line.count(b"-")
    ]
    assert opening == BEGINNING
    assert 0 < len(ids) < count
    rest = await read_on(bounded, ids[-2], count - len(ids) + 1)
    assert rest[-1].data["invoice"]["description"].startswith(f"{count - 1} ")


@pytest.mark.parametrize("ending", ["drain", "close"])
async def test_a_drain_and_the_end_of_the_engine_end_every_stream_as_complete(api: Api, ending: str) -> None:
    async def read_to_end(events: Listener) -> None:
        assert await events.next() is None

    async with listening(api) as first, listening(api) as second:
        reading = asyncio.gather(read_to_end(first), read_to_end(second))
        await (api.app[CONCURRENCY].drain(10) if ending == "drain" else api.engine.aclose())
        await reading
    assert api.engine.statistics.listeners == 0
