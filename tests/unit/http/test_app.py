"""The application: an object that others can serve or mount."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.scenes import SECRET, quick_settings

from technopay.engine import Engine
from technopay.http.app import create_app
from technopay.http.auth import Caller, TokenAuthenticator
from technopay.http.problems import Unauthenticated
from technopay.storage import RedisStore


class KnownByName:
    """A sign-in that believes what it is told."""

    async def authenticate(self, request: web.Request) -> Caller:
        header = request.headers.get("Authorization")
        if not header:
            raise Unauthenticated
        return Caller(header, frozenset({"payments"}))


async def test_it_is_mounted_below_a_path_of_another_application(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        outer = web.Application()
        outer.add_subapp("/pay", create_app(engine, TokenAuthenticator(SECRET)))
        async with TestClient(TestServer(outer)) as client:
            assert (await client.get("/pay/readyz")).status == 200
            assert (await client.get("/pay/v1/wallets")).status == 401
            assert (await client.get("/v1/wallets")).status == 404


async def test_it_takes_another_sign_in(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        await engine.create_user(user_id="alice")
        await engine.create_wallet(user_id="alice", currency="EUR")
        async with TestClient(TestServer(create_app(engine, KnownByName()))) as client:
            answer = await client.get("/v1/wallets", headers={"Authorization": "alice"})
            assert [wallet["user_id"] for wallet in (await answer.json())["data"]] == ["alice"]


async def test_neither_starts_nor_closes_the_engine(fake_store: RedisStore) -> None:
    engine = Engine(fake_store, quick_settings())
    async with TestClient(TestServer(create_app(engine, TokenAuthenticator(SECRET)))) as client:
        assert (await client.get("/readyz")).status == 503
        async with engine:
            assert (await client.get("/readyz")).status == 200
        assert (await client.get("/readyz")).status == 503


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json"])
async def test_what_needs_no_sign_in_minds_none(fake_store: RedisStore, path: str) -> None:
    async with (
        Engine(fake_store, quick_settings()) as engine,
        TestClient(TestServer(create_app(engine, TokenAuthenticator(SECRET)))) as client,
    ):
        response = await client.get(path, headers={"Authorization": "Bearer nonsense"})
        assert response.status == 200
        assert response.headers["X-Request-Id"]
