"""The application: an object that other programs can serve or mount."""

from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.engine_setup import SECRET, quick_settings

from technopay.engine import Engine
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.storage import RedisStore


async def test_it_neither_starts_nor_closes_the_engine_and_reads_no_token_where_it_needs_none(
    fake_store: RedisStore,
) -> None:
    engine = Engine(fake_store, quick_settings())
    async with TestClient(TestServer(create_app(engine, TokenAuthenticator(SECRET)))) as client:
        assert (await client.get("/readyz")).status == 503
        async with engine:
            for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
                response = await client.get(path, headers={"Authorization": "Bearer nonsense"})
                assert response.status == 200
                assert response.headers["X-Request-Id"]
        assert (await client.get("/readyz")).status == 503
