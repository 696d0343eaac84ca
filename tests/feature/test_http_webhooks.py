"""Webhooks over HTTP, to a receiver in a process of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import DELIVERY, PAGE, WEBHOOK, Api, make_person, running_api
from support.processes.service import running_command
from support.processes.webhook_receiver import WebhookReceiver

from technopay.engine.webhooks import deliveries as module
from technopay.http.webhooks import HttpWebhookSender
from technopay.storage import RedisStore


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(tmp_path)
    await receiver.start()
    yield receiver
    await receiver.aclose()


@pytest.fixture
async def sending_api(fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(module, "REFRESH_INTERVAL_S", 0.05)
    async with (
        HttpWebhookSender(private="allow") as sender,
        running_api(fake_store, sender=sender, webhook_private="allow") as api,
    ):
        yield api


async def test_a_receiver_gets_verified_events_over_http(sending_api: Api, receiver: WebhookReceiver) -> None:
    api = sending_api
    body = {"url": receiver.url, "types": ["payment.succeeded"], "merchant": "bookshop"}
    reply = await api.operate("POST", "/webhooks", body, key="one")
    webhook = reply.expect(201)
    assert set(webhook) == WEBHOOK
    assert reply.headers["Location"] == f"/v1/admin/webhooks/{webhook['id']}"
    await receiver.trust(webhook["secret"])
    replay = await api.operate("POST", "/webhooks", body, key="one")
    assert (replay.expect(201)["secret"], replay.headers["Idempotent-Replayed"]) == (None, "true")
    person = await make_person(api)
    await person.pay(merchant="another")
    payment = await person.pay()

    async def has_arrived() -> bool:
        return bool(receiver.received())

    await wait_for(has_arrived)
    [received] = receiver.received()
    assert received["verified"]
    assert f'"id":"{payment["id"]}"' in received["body"]
    path = f"/webhooks/{webhook['id']}"

    async def is_delivered() -> bool:
        page = (await api.operate("GET", f"{path}/deliveries?status=delivered")).expect(200)
        return bool(page["data"])

    await wait_for(is_delivered)
    page = (await api.operate("GET", f"{path}/deliveries")).expect(200)
    [delivery] = page["data"]
    assert (set(page), set(delivery)) == (PAGE, DELIVERY)
    assert (delivery["event_id"], delivery["payment_id"]) == (received["id"], payment["id"])
    again = (await api.operate("POST", f"{path}/deliveries/{delivery['id']}/send")).expect(200)
    assert again["status"] == "delivered", "only a dead one is sent again"
    assert (await api.operate("POST", f"{path}/send")).expect(200) == {"resent": 0}


async def test_an_operator_changes_rotates_and_deletes_a_webhook(
    sending_api: Api, receiver: WebhookReceiver
) -> None:
    api = sending_api
    webhook = (await api.operate("POST", "/webhooks", {"url": receiver.url})).expect(201)
    path = f"/webhooks/{webhook['id']}"
    assert (await api.operate("GET", path)).expect(200) == {**webhook, "secret": None}
    listed = (await api.operate("GET", "/webhooks?limit=1")).expect(200)
    assert listed == {"data": [{**webhook, "secret": None}], "has_more": False, "next_cursor": None}
    changed = (await api.operate("PATCH", path, {"status": "paused", "types": ["invoice.created"]})).expect(200)
    assert (changed["status"], changed["types"], changed["url"]) == (
        "paused", ["invoice.created"], receiver.url
    )  # fmt: skip
    rotated = (await api.operate("POST", f"{path}/rotate", {"overlap_s": 60})).expect(200)
    assert rotated["secret"] not in (None, webhook["secret"])
    for _ in range(2):
        deleted = await api.operate("DELETE", path)
        assert (deleted.status, deleted.text) == (204, "")
        assert "Content-Type" not in deleted.headers
        assert "Content-Length" not in deleted.headers
    (await api.operate("GET", path)).refuse(404, "webhook_not_found")


@pytest.mark.parametrize("overlap_s", [{}, [], "60", -1, 10**9, 1.5, True])
async def test_an_overlap_that_is_none_is_refused(api: Api, overlap_s: object) -> None:
    reply = await api.operate("POST", "/webhooks/whk_00none/rotate", {"overlap_s": overlap_s})
    problem = reply.refuse(422, "validation_failed")
    assert [each["field"] for each in problem["errors"]] == ["overlap_s"]


async def test_bad_requests_name_the_field_and_change_nothing(api: Api) -> None:
    for body, field in (
        ({}, "url"),
        ({"url": "http://example.com"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://example.com", "types": "payment.succeeded"}, "types"),
        ({"url": "https://example.com", "types": ["payment.paid"]}, "types"),
        ({"url": "https://example.com", "types": [1]}, "types"),
        ({"url": "https://example.com", "types": [["payment.failed"]]}, "types"),
        ({"url": "https://example.com", "merchant": ""}, "merchant"),
        ({"url": "https://example.com", "secret": "whsec_abc"}, "secret"),
    ):
        problem = (await api.operate("POST", "/webhooks", body)).refuse(422, "validation_failed")
        assert [each["field"] for each in problem["errors"]] == [field], body
    assert (await api.operate("GET", "/webhooks")).expect(200)["data"] == []
    webhook = (await api.operate("POST", "/webhooks", {"url": "https://example.com"})).expect(201)
    path = f"/webhooks/{webhook['id']}"
    for status in ("disabled", "deleted", "on"):
        (await api.operate("PATCH", path, {"status": status})).refuse(422, "validation_failed")
    (await api.operate("POST", f"{path}/rotate", {"overlap_s": -1})).refuse(422, "validation_failed")
    (await api.operate("POST", f"{path}/deliveries/dlv_001-1/send")).refuse(404, "delivery_not_found")
    (await api.operate("GET", f"{path}/deliveries?status=lost")).refuse(422, "validation_failed")
    (await api.get("/v1/admin/webhooks")).refuse(403, "forbidden")


async def test_deliveries_of_all_partitions_are_one_list_over_http(receiver: WebhookReceiver) -> None:
    async with (
        RedisStore.fake(partitions=3) as store,
        HttpWebhookSender(private="allow") as sender,
        running_api(store, sender=sender, webhook_private="allow") as api,
    ):
        webhook = (await api.operate("POST", "/webhooks", {"url": receiver.url})).expect(201)
        users = ("alice", "bob", "carol", "dave", "erin")
        assert len({store.partition_of(user) for user in users}) > 1
        for user in users:
            await (await make_person(api, user)).invoice()

        async def have_arrived() -> bool:
            return len(receiver.received()) == len(users)

        await wait_for(have_arrived)
        path, cursor, seen = f"/webhooks/{webhook['id']}/deliveries?limit=2&cursor=", "", []
        while cursor is not None:
            page = (await api.operate("GET", path + cursor)).expect(200)
            seen += [each["event_id"] for each in page["data"]]
            cursor = page["next_cursor"]
        times = [event_id[6:] for event_id in seen]
        assert times == sorted(times, reverse=True)
        assert sorted(seen) == sorted(each["id"] for each in receiver.received())


async def test_serve_delivers_with_a_setting_for_private_addresses(
    tmp_path: Path, receiver: WebhookReceiver
) -> None:
    arguments = ("serve", "--demo", "--port", "0", "--data-dir", "data")
    allowed = {"TECHNOPAY_WEBHOOK_PRIVATE": "allow"}
    with running_command(tmp_path / "home", *arguments, settings=allowed) as service:
        operator = service.token("demo-operator", admin=True)
        status, webhook = service.ask("POST", "/v1/admin/webhooks", {"url": receiver.url}, operator)
        assert status == 201, webhook
        await receiver.trust(webhook["secret"])
        assert service.purchase()[0] == 200

        async def have_arrived() -> bool:
            return len(receiver.received()) >= 3

        await wait_for(have_arrived)
        assert all(each["verified"] for each in receiver.received())
