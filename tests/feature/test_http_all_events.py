"""The events of all users over HTTP: as pages and as a stream, with one kind of cursor."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support.fixtures.engine_setup import SECRET, wait_for
from support.fixtures.event_stream import Listener, Told, listening
from support.fixtures.http_api import INVOICE, PAGE, PAYMENT, Api, Json, make_person, running_api

from technopay.engine.events.cursor import Cursor
from technopay.engine.values import Position
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.client import Client
from technopay.http.server.limits import ServerLimits
from technopay.http.server.serving import serving
from technopay.storage import RedisStore

PATH = "/v1/admin/events"
PURCHASE = ["invoice.created", "payment.started", "payment.processing", "payment.succeeded"]
USERS = ("alice", "bob", "carol")


def all_listening(api: Api, after: str | None = None, query: str = "") -> Any:
    return listening(api, "operator", after, path=PATH + query, admin=True)


async def list_all(api: Api, query: str = "") -> list[Json]:
    """Read all pages."""
    found: list[Json] = []
    after, has_more = "", True
    while has_more:
        page = (await api.operate("GET", f"/events?limit=3{after}{query}")).expect(200)
        assert set(page) == PAGE
        found, after, has_more = found + page["data"], f"&after={page['next_cursor']}", page["has_more"]
    return found


def about(event: Json) -> Json:
    subject: Json = event.get("payment") or event["invoice"]
    return subject


@pytest.mark.any_partition
async def test_an_operator_gets_the_events_of_all_users_as_pages_and_as_a_stream(any_api: Api) -> None:
    people = [await make_person(any_api, user) for user in USERS]
    async with all_listening(any_api) as events:
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert events.response.headers["X-Accel-Buffering"] == "no"
        paid = await asyncio.gather(*(person.pay() for person in people))
        told: list[Told] = await events.take(4 * len(people))
    listed = await list_all(any_api)
    assert sorted(each.data["id"] for each in told) == sorted(event["id"] for event in listed)
    for found in (listed, [each.data for each in told]):
        for payment in paid:
            theirs = [each for each in found if about(each)["id"] in (payment["id"], payment["invoice_id"])]
            assert [each["type"] for each in theirs] == PURCHASE
            assert theirs[-1]["payment"] == payment
        for each in found:
            shown = "invoice" if each["type"].startswith("invoice.") else "payment"
            assert set(each) == {"id", "type", "at", "version", shown}
            assert set(each[shown]) == (INVOICE if shown == "invoice" else PAYMENT)


async def test_an_address_is_masked_as_for_its_user(api: Api) -> None:
    alice = await make_person(api)
    await alice.start()
    [event] = await list_all(api, "&types=payment.started")
    assert event["payment"]["confirmation"]["sent_to"] == "a***@example.com"


async def test_pages_and_streams_go_on_after_each_others_cursors(api: Api) -> None:
    alice = await make_person(api)
    async with all_listening(api) as events:
        begin = events.begins_after
        await alice.pay()
        [first, *_] = await events.take(4)
    page = (await api.operate("GET", f"/events?after={first.id}&limit=2")).expect(200)
    assert [each["type"] for each in page["data"]] == PURCHASE[1:3]
    async with all_listening(api, page["next_cursor"]) as events:
        assert [each.type for each in await events.take(1)] == PURCHASE[3:]
    # The header of a reconnection goes before the address that was opened first.
    async with all_listening(api, page["next_cursor"], f"?after={begin}") as events:
        assert [each.type for each in await events.take(1)] == PURCHASE[3:]
    async with all_listening(api, query=f"?after={begin}&types=payment.succeeded") as events:
        assert [each.type for each in await events.take(1)] == PURCHASE[3:]


async def test_a_ping_brings_the_cursor_behind_what_the_filter_left_out(fake_store: RedisStore) -> None:
    async with running_api(fake_store) as api:
        app = create_app(api.engine, TokenAuthenticator(SECRET), limits=ServerLimits(ping_interval_s=0.05))
        alice = await make_person(api)
        headers = {"Authorization": f"Bearer {api.token('op', admin=True)}", "Accept": "text/event-stream"}
        async with (
            serving(app, "127.0.0.1", 0, drain_s=0.1) as (host, port),
            api.client.session.get(
                f"http://{host}:{port}{PATH}?types=invoice.voided", headers=headers
            ) as response,
        ):
            lines = Listener(response, "")
            await lines._read_line()
            begin = (await lines._read_line()).removeprefix("id: ").strip()
            await alice.invoice()
            async with asyncio.timeout(10):
                while not (line := await lines._read_line()).startswith("id: "):
                    assert line in (": ping\n", "\n")
        cursor = line.removeprefix("id: ").strip()
        assert cursor != begin
        page = (await api.operate("GET", f"/events?after={cursor}")).expect(200)
        assert page == {"data": [], "has_more": False, "next_cursor": cursor}


async def test_a_wrong_cursor_or_filter_is_refused_by_name(api: Api) -> None:
    ahead = str(Cursor((Position(9_999_999_999_999, 0),)))
    other = str(Cursor.beginning(3))
    stream = {"Accept": "text/event-stream"}
    for query, rule in (
        ("after=", "next_cursor"), ("after=evt_000-0", "next_cursor"), ("after=AQAA", "next_cursor"),
        (f"after={other}", "3 partitions; this one has 1"),
        ("types=payment.paid", "payment.succeeded"), ("types=", "payment.succeeded"),
    ):  # fmt: skip
        for headers in ({}, stream):
            problem = (await api.operate("GET", f"/events?{query}", headers=headers)).refuse(
                422, "validation_failed"
            )
            [error] = problem["errors"]
            assert error["field"] == query.partition("=")[0]
            assert rule in error["message"]
    for query in ("limit=0", "limit=101", "limit=x", "page=2"):
        (await api.operate("GET", f"/events?{query}")).refuse(422, "validation_failed")
    for headers in ({}, stream):
        (await api.operate("GET", f"/events?after={ahead}", headers=headers)).refuse(
            409, "event_position_unknown"
        )
    for seen in ("", "evt_000-0", other):
        reply = await api.operate("GET", "/events", headers={**stream, "Last-Event-ID": seen})
        reply.refuse(400, "malformed_request")


async def test_only_operators_get_the_events_of_all_users(api: Api) -> None:
    for headers in ({}, {"Accept": "text/event-stream"}):
        (await api.get(PATH, headers=headers)).refuse(403, "forbidden")
        (await api.get(PATH, user=None, headers=headers)).refuse(401, "unauthenticated")


async def test_the_largest_cursor_fits_into_a_query_and_a_header() -> None:
    async with RedisStore.fake(partitions=256) as store, running_api(store) as api:
        alice = await make_person(api)
        await alice.start()
        last = 2**63 - 1
        largest = str(Cursor((Position(last, last),) * 256, 255))
        stream = {"Accept": "text/event-stream"}
        (await api.operate("GET", f"/events?after={largest}")).refuse(409, "event_position_unknown")
        reply = await api.operate("GET", "/events", headers={**stream, "Last-Event-ID": largest})
        reply.refuse(409, "event_position_unknown")
        assert [each["type"] for each in await list_all(api)] == PURCHASE[:2]


async def test_the_streams_of_operators_are_bounded(fake_store: RedisStore) -> None:
    async with running_api(fake_store, operator_listeners_max=2) as api, AsyncExitStack() as streams:
        api.faults_expected = True
        for _ in range(2):
            await streams.enter_async_context(all_listening(api))
        reply = await api.operate("GET", "/events", headers={"Accept": "text/event-stream"})
        reply.refuse(503, "overloaded")
        (await api.operate("GET", "/events")).expect(200)
        async with listening(api):
            pass


async def test_the_client_lists_and_listens_and_goes_on(api: Api) -> None:
    alice = await make_person(api)
    url = str(api.client.server.make_url("/"))
    async with Client(url, api.token("operator", admin=True)) as client:
        events = client.all_events(types="payment.succeeded,invoice.created")
        first = asyncio.ensure_future(anext(events))

        async def has_begun() -> bool:
            return events.cursor is not None

        await wait_for(has_begun)
        async with asyncio.timeout(10):
            await alice.pay()
            assert (await first).type == "invoice.created"
            cursor = events.cursor
            assert (await anext(events)).type == "payment.succeeded"
            await events.aclose()
            again = client.all_events(after=cursor)
            assert [(await anext(again)).type for _ in range(3)] == PURCHASE[1:]
            await again.aclose()
        page = await client.list_events(after=cursor, types="payment.succeeded", limit=5)
    assert [event.type for event in page.data] == ["payment.succeeded"]
    assert page.next_cursor == again.cursor
