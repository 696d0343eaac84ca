"""What is served without sign-in: health, metrics, the OpenAPI document and, in a demo only, the mocks."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from support.fixtures.engine_setup import SECRET, quick_settings, wait_for
from support.fixtures.http_api import TIME, Api, inbox, make_person, running_api

from technopay.engine import Engine, StoreUnavailable
from technopay.engine.testing import mocks
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.server.serving import CONCURRENCY, serving
from technopay.storage import RedisStore

MOCKS = ["settlement", "email", "sms"]


async def test_a_server_that_lives_and_can_work_says_so(any_api: Api) -> None:
    assert (await any_api.get("/livez", user=None)).expect(200) == {"status": "ok"}
    assert (await any_api.get("/readyz", user=None)).expect(200) == {"status": "ok", "mocks": MOCKS}


async def test_a_server_without_its_store_lives_but_is_not_ready(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone() -> None:
        raise StoreUnavailable

    monkeypatch.setattr(api.store, "ping", gone)

    (await api.get("/livez", user=None)).expect(200)
    assert (await api.get("/readyz", user=None)).expect(503) == {
        "status": "store_unavailable",
        "mocks": MOCKS,
    }
    monkeypatch.undo()
    (await api.get("/readyz", user=None)).expect(200)


async def test_a_server_whose_engine_is_closed_is_not_ready(api: Api) -> None:
    api.faults_expected = True
    await api.engine.aclose()

    (await api.get("/livez", user=None)).expect(200)
    (await api.get("/readyz", user=None)).expect(503)
    (await api.get("/v1/wallets")).refuse(503, "store_unavailable")


async def test_a_server_that_drains_is_not_ready_and_takes_no_new_work(api: Api) -> None:
    api.faults_expected = True
    await api.app[CONCURRENCY].drain(0)

    (await api.get("/livez", user=None)).expect(200)
    assert (await api.get("/readyz", user=None)).expect(503) == {
        "status": "draining",
        "mocks": MOCKS,
    }
    (await api.get("/v1/wallets")).refuse(503, "overloaded")


async def test_a_server_that_drains_finishes_what_runs_and_says_that_it_drains(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mocks, "SLOW_S", 1.0)
    async with running_api(fake_store, settlement_timeout_s=5.0) as api:
        alice = await make_person(api)
        payment = await alice.start(2_500, "acme-slow")
        app = create_app(api.engine, TokenAuthenticator(SECRET))
        leave = asyncio.Event()
        addresses: asyncio.Queue[str] = asyncio.Queue()

        async def serve() -> None:
            async with serving(app, "127.0.0.1", 0) as (host, port):
                addresses.put_nowait(f"http://{host}:{port}")
                await leave.wait()

        server = asyncio.create_task(serve())
        url = await addresses.get()
        headers = {"Authorization": f"Bearer {api.token()}"}
        async with aiohttp.ClientSession(url) as session:

            async def read() -> tuple[int, str]:
                path = f"/v1/payments/{payment['id']}?wait=10"
                async with session.get(path, headers=headers) as response:
                    return response.status, (await response.json())["status"]

            (await alice.confirm(payment, "?wait=0")).expect(202)
            reading = asyncio.create_task(read())

            async def begun() -> bool:
                return app[CONCURRENCY]._waits == 1

            await wait_for(begun)
            leave.set()

            async def draining() -> bool:
                async with session.get("/readyz") as response:
                    return response.status == 503 and (await response.json())["status"] == "draining"

            await wait_for(draining)
            assert await reading == (200, "succeeded")
        await server


async def test_metrics_count_requests_by_route_and_never_by_id(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.pay()
    await alice.get("/wallets/wal_00secret")
    await api.get("/nothing/at/all")

    reply = await api.get("/metrics", user=None)

    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = reply.text.splitlines()
    confirmed = 'code="",method="POST",route="/v1/payments/{payment_id}/confirm",status="200"'
    assert f"technopay_requests_total{{{confirmed}}} 1.0" in lines
    refused = 'code="wallet_not_found",method="GET",route="/v1/wallets/{wallet_id}",status="404"'
    assert f"technopay_requests_total{{{refused}}} 1.0" in lines
    assert any(line.startswith('technopay_request_seconds_bucket{le="0.001",method="GET"') for line in lines)
    assert "technopay_live_actors 0.0" in lines
    for text in (payment["id"], alice.wallet_id, payment["invoice_id"], "wal_00secret", "alice", "/nothing"):
        assert text not in reply.text


async def test_two_applications_count_for_themselves(fake_store: RedisStore) -> None:
    async with running_api(fake_store) as first, Engine(fake_store, quick_settings()) as engine:
        create_app(engine, TokenAuthenticator(SECRET))
        await first.get("/livez", user=None)
        assert 'route="/livez"' in (await first.get("/metrics", user=None)).text


async def test_the_mocks_do_not_exist_without_demo(fake_store: RedisStore) -> None:
    async with running_api(fake_store, demo=False) as api:
        (await api.get("/mock/inbox/alice", user=None)).refuse(404, "not_found")
        (await api.post("/mock/token", {"user_id": "alice"}, user=None)).refuse(404, "not_found")


async def test_the_mock_inbox_shows_what_a_user_was_sent_newest_first(any_api: Api) -> None:
    alice = await make_person(any_api)
    assert (await any_api.get("/mock/inbox/alice", user=None)).expect(200) == {"data": []}
    payment = await alice.start()
    (code,) = await inbox(any_api, "alice", "confirmation.code")
    await alice.confirm(payment)
    (success,) = await inbox(any_api, "alice", "payment.succeeded")

    members = {"channel", "to", "kind", "text", "payment_id", "event_id", "at"}
    assert (set(code), set(success)) == (members | {"code"}, members)
    assert code["code"] in code["text"]
    assert "25.00 EUR to bookshop" in code["text"]
    for message in (code, success):
        assert (message["channel"], message["payment_id"]) == ("email", payment["id"])
        assert message["event_id"].startswith("evt_")
        assert TIME.fullmatch(message["at"])
    everything = (await any_api.get("/mock/inbox/alice", user=None)).expect(200)["data"]
    newest = (await any_api.get("/mock/inbox/alice?limit=1", user=None)).expect(200)["data"]
    assert newest == everything[:1]
    (await any_api.get("/mock/inbox/alice?limit=0", user=None)).refuse(422, "validation_failed")
    assert [message["kind"] for message in everything] == ["payment.succeeded", "confirmation.code"]


async def test_the_user_is_told_why_a_confirm_was_refused(api: Api) -> None:
    alice = await make_person(api)
    first, second = await alice.start(6_000), await alice.start(6_000)
    await alice.confirm(first)
    (await alice.confirm(second)).refuse(402, "insufficient_funds")

    (message,) = await inbox(api, "alice", "payment.refused")

    assert message["payment_id"] == second["id"]


async def test_a_mock_token_opens_what_it_was_asked_for(api: Api) -> None:
    for body, opens_admin in (({"user_id": "demo-x"}, False), ({"user_id": "demo-x", "admin": True}, True)):
        answer = (await api.post("/mock/token", body, user=None)).expect(200)
        assert set(answer) == {"token"}
        headers = {"Authorization": f"Bearer {answer['token']}"}
        (await api.get("/v1/wallets", user=None, headers=headers)).expect(200)
        reply = await api.get("/v1/admin/limits", user=None, headers=headers)
        assert reply.status == (200 if opens_admin else 403)


@pytest.mark.parametrize(
    "body", [{}, {"user_id": "a/b"}, {"user_id": "x", "admin": "yes"}, {"user_id": "x", "y": 1}]
)
async def test_a_mock_token_is_asked_for_in_the_right_form(api: Api, body: dict[str, object]) -> None:
    (await api.post("/mock/token", body, user=None)).refuse(422, "validation_failed")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_who_asks_after_health_may_add_what_gets_past_caches(api: Api, path: str) -> None:
    assert (await api.get(f"{path}?at=1&at=2", user=None)).status == 200
