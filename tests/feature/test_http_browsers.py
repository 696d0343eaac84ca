"""HEAD, requests from other origins, and the client of a request behind a proxy."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from support.fixtures.engine_setup import SECRET, wait_for
from support.fixtures.http_api import Api, OwnServer, Person, make_person

from technopay.http.access_record import RequestRecord
from technopay.http.app import ROUTES, create_app
from technopay.http.auth.tokens import TokenAuthenticator

SHOP = "https://shop.example"
ASKED = {
    "Origin": SHOP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "idempotency-key",
}
ALLOWED = {"authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id"}
EXPOSED = {"location", "link", "retry-after", "idempotent-replayed", "x-request-id"}

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def alice(api: Api) -> Person:
    return await make_person(api)


@asynccontextmanager
async def opened(api: Api, **options: Any) -> AsyncIterator[Client]:
    """Serve the same engine with options of an application."""
    app = create_app(api.engine, TokenAuthenticator(SECRET), **options)
    async with TestClient(OwnServer(app)) as client:
        yield client


def signed_in(person: Person, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.api.token(person.id, admin=True)}", **headers}


def names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


async def test_head_is_answered_wherever_get_is_with_the_same_headers(api: Api, alice: Person) -> None:
    invoice, payment = await alice.invoice(), await alice.start()
    webhook = (await api.operate("POST", "/webhooks", {"url": "https://shop.example/hook"})).expect(201)
    ids = {
        "wallet_id": alice.wallet_id, "invoice_id": invoice["id"], "payment_id": payment["id"],
        "user_id": "alice", "webhook_id": webhook["id"],
    }  # fmt: skip
    async with opened(api) as client:
        for route in api.app[ROUTES]:
            if route.method != "GET" or route.path.startswith("/mock/"):
                continue
            for path in (route.path.format(**ids, asset="x"), f"{route.path.format(**ids, asset='x')}?zzz=1"):
                headers = signed_in(alice)
                async with asyncio.timeout(10):
                    async with client.head(path, headers=headers) as head:
                        assert await head.read() == b""
                    async with client.get(path, headers=headers) as got:
                        assert head.status == got.status, path
                assert common(head.headers, path) == common(got.headers, path), path


def common(headers: Mapping[str, str], path: str) -> dict[str, str]:
    """The headers without those that differ between requests."""
    changing = {"Date", "X-Request-ID", "Transfer-Encoding"}
    if path.startswith("/metrics"):
        changing.add("Content-Length")
    return {name: value for name, value in headers.items() if name not in changing}


async def test_a_head_of_events_holds_no_listener(api: Api, alice: Person) -> None:
    async with opened(api) as client:
        for _ in range(6):
            async with client.head("/v1/events", headers=signed_in(alice)) as head:
                assert (head.status, head.content_type) == (200, "text/event-stream")

        async def are_gone() -> bool:
            return api.engine.statistics.listeners == 0

        await wait_for(are_gone)


async def test_a_preflight_of_an_allowed_origin_is_answered(api: Api, alice: Person) -> None:
    async with opened(api, cors_origins=[SHOP]) as client:
        paths = {
            "/v1/payments": {"get", "head", "post"},
            "/v1/payments/x/confirm": {"post"},
            "/v1/events": {"get", "head"},
        }
        for path, methods in paths.items():
            async with client.options(path, headers=ASKED) as answer:
                assert answer.status == 200
                assert answer.headers["Access-Control-Allow-Origin"] == SHOP
                assert names(answer.headers["Access-Control-Allow-Methods"]) == methods
                assert names(answer.headers["Access-Control-Allow-Headers"]) == ALLOWED
                assert "Origin" in answer.headers["Vary"]
                assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [("/v1/wallets", True, 200), ("/v1/wallets", False, 401), ("/v1/wallets/x", True, 404),
     ("/none", True, 404), ("/livez", False, 200), ("/v1/wallets?x=1", True, 422),
     ("/v1/events", True, 200), ("/docs", False, 200)],
)  # fmt: skip
async def test_an_allowed_origin_may_read_every_answer_errors_too(
    api: Api, alice: Person, path: str, status: int, *, user: bool
) -> None:
    async with opened(api, cors_origins=["https://other.example", SHOP]) as client:
        headers = signed_in(alice, Origin=SHOP) if user else {"Origin": SHOP}
        async with client.get(path, headers=headers) as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == SHOP
            assert names(answer.headers["Access-Control-Expose-Headers"]) == EXPOSED
            assert answer.headers["Vary"] == "Origin"
        async with client.get(path, headers=headers | {"Origin": "https://evil.example"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin", "a cache must not hand it to the others"


STRANGERS = [
    "https://evil.example", "http://shop.example", "https://shop.example:8443", "https://shop.example.evil",
    "https://SHOP.example", "null", "*", "", "https://shop.example/",
]  # fmt: skip


@pytest.mark.parametrize("origins", [[SHOP], []], ids=["one", "none"])
async def test_no_other_origin_is_allowed(api: Api, alice: Person, origins: list[str]) -> None:
    async with opened(api, cors_origins=origins) as client:
        for origin in STRANGERS:
            for method, path, headers, status in (
                ("OPTIONS", "/v1/payments", ASKED | {"Origin": origin}, 405),
                ("GET", "/v1/wallets", signed_in(alice, Origin=origin), 200),
            ):
                async with client.request(method, path, headers=headers) as answer:
                    assert answer.status == status
                    assert not [name for name in answer.headers if name.startswith("Access-Control-")], origin
        async with client.get("/livez", headers={"Origin": SHOP}) as answer:
            for name in ("Vary", "Access-Control-Allow-Origin"):
                assert (name in answer.headers) == bool(origins)


async def test_an_options_that_is_no_preflight_is_not_allowed(api: Api, alice: Person) -> None:
    async with (
        opened(api, cors_origins=[SHOP]) as client,
        client.options("/v1/payments", headers={"Origin": SHOP}) as answer,
    ):
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (405, SHOP)


async def test_a_request_is_recorded_with_client_method_and_route(api: Api, alice: Person) -> None:
    records: list[RequestRecord] = []
    options = {"observer": records.append, "trusted_proxies": [ip_network("127.0.0.0/8")]}
    async with opened(api, **options) as client:
        for method, path in [
            ("GET", "/v1/wallets"), ("HEAD", "/livez"), ("GET", "/v1/payments/nope"), ("DELETE", "/v1/wallets"),
            ("GET", "/v1/nowhere/123456"), ("PURGE", "/v1/wallets/x"),
        ]:  # fmt: skip
            headers = signed_in(alice, **{"X-Forwarded-For": "203.0.113.9"})
            url = client.make_url(path)
            async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers):
                pass
    assert [(each.client, each.method, each.template, each.status) for each in records] == [
        ("203.0.113.9", "GET", "/v1/wallets", 200),
        ("203.0.113.9", "HEAD", "/livez", 200),
        ("203.0.113.9", "GET", "/v1/payments/{payment_id}", 404),
        ("203.0.113.9", "DELETE", "/v1/wallets", 405),
        ("203.0.113.9", "GET", None, 404),
        ("203.0.113.9", "unknown", "/v1/wallets/{wallet_id}", 405),
    ]
