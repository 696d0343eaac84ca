"""Routes without sign-in: health, metrics and, in a demo only, the mocks."""

import pytest
from support.fixtures.http_api import TIME, Api, inbox, make_person, running_api

from technopay.engine import StoreUnavailable
from technopay.http.server.serving import CONCURRENCY
from technopay.storage import RedisStore

MOCKS = ["settlement", "email", "sms"]


async def test_a_server_with_its_store_is_ready(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable() -> None:
        raise StoreUnavailable

    ready = {"status": "ok", "mocks": MOCKS}
    assert (await any_api.get("/readyz", user=None)).expect(200) == ready
    monkeypatch.setattr(any_api.store, "ping", unavailable)
    assert (await any_api.get("/livez", user=None)).expect(200) == {"status": "ok"}
    assert (await any_api.get("/readyz", user=None)).expect(503) == ready | {"status": "store_unavailable"}
    monkeypatch.undo()
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await any_api.get(f"{path}?at=1&at=2", user=None)).status == 200, "a query gets past caches"


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [("drain", "draining", "overloaded"), ("close", "store_unavailable", "store_unavailable")],
)
async def test_a_server_that_drains_or_whose_engine_is_closed_lives_and_takes_no_work(
    api: Api, ending: str, status: str, code: str
) -> None:
    api.faults_expected = True
    await (api.app[CONCURRENCY].drain(0) if ending == "drain" else api.engine.aclose())

    (await api.get("/livez", user=None)).expect(200)
    assert (await api.get("/readyz", user=None)).expect(503) == {"status": status, "mocks": MOCKS}
    (await api.get("/v1/wallets")).refuse(503, code)


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


async def test_the_mocks_do_not_exist_without_demo(fake_store: RedisStore) -> None:
    async with running_api(fake_store, demo=False) as api:
        (await api.get("/mock/inbox/alice", user=None)).refuse(404, "not_found")
        (await api.post("/mock/token", {"user_id": "alice"}, user=None)).refuse(404, "not_found")


async def test_the_mock_inbox_shows_the_messages_of_a_user_newest_first(api: Api) -> None:
    alice = await make_person(api)
    assert (await api.get("/mock/inbox/alice", user=None)).expect(200) == {"data": []}
    payment = await alice.start()
    (code,) = await inbox(api, "alice", "confirmation.code")
    await alice.confirm(payment)
    (success,) = await inbox(api, "alice", "payment.succeeded")

    members = {"channel", "to", "kind", "text", "payment_id", "event_id", "at"}
    assert (set(code), set(success)) == (members | {"code"}, members)
    assert code["code"] in code["text"]
    for message in (code, success):
        assert (message["channel"], message["payment_id"]) == ("email", payment["id"])
        assert message["event_id"].startswith("evt_")
        assert TIME.fullmatch(message["at"])
    assert (await api.get("/mock/inbox/alice", user=None)).expect(200)["data"] == [success, code]
    assert (await api.get("/mock/inbox/alice?limit=1", user=None)).expect(200)["data"] == [success]
    (await api.get("/mock/inbox/alice?limit=0", user=None)).refuse(422, "validation_failed")


async def test_a_mock_token_opens_what_it_was_asked_for(api: Api) -> None:
    for body, opens_admin in (({"user_id": "demo-x"}, False), ({"user_id": "demo-x", "admin": True}, True)):
        answer = (await api.post("/mock/token", body, user=None)).expect(200)
        assert set(answer) == {"token"}
        headers = {"Authorization": f"Bearer {answer['token']}"}
        (await api.get("/v1/wallets", user=None, headers=headers)).expect(200)
        reply = await api.get("/v1/admin/limits", user=None, headers=headers)
        assert reply.status == (200 if opens_admin else 403)
    for wrong in ({}, {"user_id": "a/b"}, {"user_id": "x", "admin": "yes"}, {"user_id": "x", "y": 1}):
        (await api.post("/mock/token", wrong, user=None)).refuse(422, "validation_failed")
