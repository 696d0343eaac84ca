"""The API mounted in an outer aiohttp application."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.engine_setup import derive_code, quick_settings

from technopay.engine import Engine, Invoice, ScriptedSettlementService, Wallet
from technopay.engine.values import PaymentTerms
from technopay.http.api.route import Call, Route
from technopay.http.api.streams import Stream
from technopay.http.app import create_app
from technopay.http.auth.tokens import PAYMENTS, Caller
from technopay.http.client import Client, UnexpectedAnswer
from technopay.http.problems import NotFound, Unauthenticated
from technopay.http.server.serving import CONCURRENCY
from technopay.storage import RedisStore

Browser = TestClient[web.Request, web.Application]


class OwnSignIn:
    """A sign-in of the outer application: it uses a service of its own, and reads any part of the request."""

    async def authenticate(self, request: web.Request) -> Caller:
        await asyncio.sleep(0)
        user_id = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not user_id:
            raise Unauthenticated("Sign in at the shop.")
        return Caller(user_id, frozenset({"payments", "admin"}))


@asynccontextmanager
async def mounted(engine: Engine, **options: Any) -> AsyncIterator[Browser]:
    """Serve a shop with plain routes and errors, and an API below /shop/pay."""

    async def greet(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {request.app[SEEN_PATHS][-1]}")

    @web.middleware
    async def see(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        shop[SEEN_PATHS].append(request.path)
        return await handler(request)

    shop = web.Application(middlewares=[see])
    shop[SEEN_PATHS] = []
    shop.router.add_get("/", greet)
    shop.add_subapp("/shop/pay", create_app(engine, OwnSignIn(), **options))
    async with TestClient(TestServer(shop)) as browser:
        yield browser


SEEN_PATHS = web.AppKey("seen_paths", list[str])


@pytest.fixture
async def engine(fake_store: RedisStore) -> AsyncIterator[Engine]:
    async with Engine(fake_store, quick_settings()) as started:
        yield started


def client_of(browser: Browser, user_id: str = "alice") -> Client:
    return Client(str(browser.make_url("/shop/pay")), user_id)


async def prepare(client: Client) -> tuple[Wallet, Invoice]:
    await client.create_user(user_id="alice", email="alice@example.com")
    wallet = await client.create_wallet(user_id="alice", currency="EUR")
    await client.deposit(wallet_id=wallet.id, amount=100)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    invoice = await client.create_invoice(
        user_id="alice", amount=30, currency="EUR", merchant="bookshop", expires_at=expires_at
    )
    return wallet, invoice


async def test_a_statement_links_to_its_next_page_below_the_path(engine: Engine) -> None:
    async with mounted(engine) as browser, client_of(browser) as client:
        wallet, _ = await prepare(client)
        await client.deposit(wallet_id=wallet.id, amount=1)
        headers = {"Authorization": "Bearer alice", "Accept": "text/csv"}
        path = f"/shop/pay/v1/wallets/{wallet.id}/statement"
        async with browser.get(f"{path}?limit=1", headers=headers) as response:
            assert response.links["next"]["url"] == browser.make_url(f"{path}?limit=1&cursor=0.1.2")


async def test_a_client_pays_and_follows_locations_below_the_path_of_the_document(engine: Engine) -> None:
    async with mounted(engine) as browser, client_of(browser) as client:
        wallet, invoice = await prepare(client)
        headers = {"Authorization": "Bearer alice"}
        for path, body in (
            ("admin/users", {"id": "bob"}),
            ("admin/wallets", {"user_id": "alice", "currency": "USD"}),
            ("payments", {"invoice_id": invoice.id, "wallet_id": wallet.id}),
        ):
            made = await browser.post(f"/shop/pay/v1/{path}", json=body, headers=headers)
            assert made.status == 201
            location = made.headers["Location"]
            assert location.startswith(f"/shop/pay/v1/{path}/")
            found = await browser.get(location, headers=headers)
            assert (await found.json())["id"] == (await made.json())["id"]
        payment = await client.get_payment(payment_id=(await made.json())["id"])
        code = await derive_code(engine.settings, payment)

        paid = await client.confirm_payment(payment_id=payment.id, code=code)

        assert (paid.status, paid.balance_after) == ("succeeded", 70)
        document = await (await browser.get("/shop/pay/openapi.json")).json()
        assert document["servers"] == [{"url": "/shop/pay"}]


async def test_a_client_below_another_path_finds_nothing(engine: Engine) -> None:
    async with mounted(engine) as browser:
        async with Client(str(browser.make_url("/shop/pay/deeper")), "alice") as lost:
            with pytest.raises(NotFound):
                await lost.list_wallets()
        async with Client(str(browser.make_url("/")), "alice") as lost:
            with pytest.raises(UnexpectedAnswer):
                await lost.list_wallets()


async def test_errors_are_problems_inside_and_plain_outside(engine: Engine) -> None:
    async with mounted(engine) as browser:
        for path, status, code in (
            ("/shop/pay/v1/wallets", 401, "unauthenticated"),
            ("/shop/pay/v1/nothing", 404, "not_found"),
            ("/shop/pay/v1/", 404, "not_found"),
        ):
            answer = await browser.get(path)
            assert answer.content_type == "application/problem+json"
            assert (answer.status, (await answer.json())["code"]) == (status, code)
        answer = await browser.delete("/shop/pay/v1/payments")
        assert (answer.status, (await answer.json())["code"]) == (405, "method_not_allowed")

        outside = await browser.get("/v1/wallets")
        assert (outside.status, outside.content_type) == (404, "text/plain")
        assert "X-Request-Id" not in outside.headers


async def test_the_outer_applications_routes_and_middlewares_are_its_own(engine: Engine) -> None:
    async with mounted(engine) as browser:
        answer = await browser.get("/")
        assert (answer.status, await answer.text()) == (200, "hello /")
        assert not {"X-Request-Id", "X-Content-Type-Options", "Cache-Control"} & set(answer.headers)
        await browser.get("/shop/pay/livez")
        answer = await browser.get("/")
        assert isinstance(browser.app, web.Application)
        assert browser.app[SEEN_PATHS] == ["/", "/shop/pay/livez", "/"]


async def test_bodies_have_the_bound_of_the_api_and_an_announced_one_is_not_waited_for(engine: Engine) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        yield b" " * 10_000
        yield b" " * 10_000

    async with mounted(engine) as browser:
        headers = {"Authorization": "Bearer alice", "Content-Type": "application/json"}
        for body in (b" " * 20_000, in_chunks()):
            answer = await browser.post("/shop/pay/v1/admin/users", data=body, headers=headers)
            assert (answer.status, (await answer.json())["code"]) == (413, "body_too_large")

        url = browser.make_url("/shop/pay/v1/admin/users")
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = ("Host: shop", "Authorization: Bearer alice", "Content-Length: 20000", "", "")
        writer.write("\r\n".join((f"POST {url.path} HTTP/1.1", *head)).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        await writer.wait_closed()


async def test_two_engines_live_in_one_process(engine: Engine) -> None:
    async with RedisStore.fake() as other_store, Engine(other_store, quick_settings()) as other_engine:
        shop = web.Application()
        shop.add_subapp("/one", create_app(engine, OwnSignIn()))
        shop.add_subapp("/other", create_app(other_engine, OwnSignIn()))
        async with TestClient(TestServer(shop)) as browser:
            one, other = (Client(str(browser.make_url(path)), "alice") for path in ("/one", "/other"))
            async with one, other:
                await prepare(one)
                assert len((await one.list_wallets()).data) == 1
                assert (await other.list_wallets()).data == []
            metrics = [await (await browser.get(f"/{path}/metrics")).text() for path in ("one", "other")]
            assert ["/v1/admin/users" in text for text in metrics] == [True, False]


async def test_requests_under_way_are_finished_when_the_outer_application_ends(fake_store: RedisStore) -> None:
    asked, may_settle = asyncio.Event(), asyncio.Event()

    class Bank(ScriptedSettlementService):
        """A settlement service whose delay a test controls."""

        async def settle(self, terms: PaymentTerms) -> Any:
            asked.set()
            await may_settle.wait()
            return "settled"

    settings = quick_settings(settlement_timeout_s=5.0)
    async with (
        Engine(fake_store, settings, settlement_service=Bank()) as engine,
        mounted(engine) as browser,
        client_of(browser) as client,
    ):
        wallet, invoice = await prepare(client)
        payment = await client.start_payment(invoice_id=invoice.id, wallet_id=wallet.id)
        code = await derive_code(engine.settings, payment)
        confirming = asyncio.create_task(client.confirm_payment(payment_id=payment.id, code=code, wait_s=9))
        await asked.wait()

        ending = asyncio.create_task(browser.server.close())
        assert isinstance(browser.app, web.Application)
        [app] = browser.app._subapps
        await app[CONCURRENCY].wait_until_draining()
        may_settle.set()

        assert (await confirming).status == "succeeded"
        await ending


async def test_a_stream_ends_by_itself_when_the_outer_application_ends(engine: Engine) -> None:
    async def tick() -> AsyncGenerator[bytes, None]:
        yield b"tick\n"
        await asyncio.get_running_loop().create_future()

    async def stream(_: Call) -> Stream:
        return Stream(tick(), "text/plain")

    endless = Route("GET", "/endless", PAYMENTS, stream, media="text/plain")
    async with mounted(engine, more_routes=[endless]) as browser:
        answer = await browser.get("/shop/pay/endless", headers={"Authorization": "Bearer alice"})
        assert await answer.content.readline() == b"tick\n"

        ending = asyncio.create_task(browser.server.close())

        assert await answer.content.read() == b""
        await ending


async def test_an_application_that_ended_leaves_no_task() -> None:
    tasks_before = asyncio.all_tasks()
    async with mounted(Engine(RedisStore.fake(), quick_settings())) as browser:
        assert (await browser.get("/shop/pay/readyz")).status == 503

    assert asyncio.all_tasks() == tasks_before
