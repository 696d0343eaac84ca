"""Servers and their store are killed at random moments under load; every acknowledgement stays true."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from support.fixtures.at_rest import RawStore, open_client
from support.fixtures.client_verdict import judge
from support.fixtures.http_clients import HttpClients, Journal, Line
from support.fixtures.reconciliation import assert_books_agree
from support.processes.killable_server import (
    EmbeddedStore,
    KillableRedis,
    KillableServer,
    KillableStore,
    RandomKiller,
)
from support.processes.preforked import running_preforked
from support.servers.real_servers import own_server
from support.servers.services_stub import ServicesStub, running_stub

SHORT, SHORT_OVER_HTTP = 20, 8
S_PER_KILL = 8
S_AT_LEAST = 180
SHOPPERS = 10
PAUSE_S = 0.4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Apply `--faults N`, the number of kills of the engine, and extend the timeout of a long run."""
    kills = metafunc.config.getoption("--faults") or SHORT
    limit = pytest.mark.timeout(S_AT_LEAST + S_PER_KILL * kills)
    metafunc.parametrize("engine_kills", [pytest.param(kills, marks=limit)])


async def test_no_answer_is_untrue_after_kills_of_a_server_and_its_embedded_store(
    engine_kills: int, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        preforked = await stack.enter_async_context(running_preforked("serve"))
        data_dir = tmp_path / "data"
        server = KillableServer(preforked, tmp_path / "server", "--data-dir", str(data_dir))
        await kill_under_load([server], EmbeddedStore(server, data_dir), engine_kills)


async def test_no_answer_is_untrue_after_kills_of_two_servers_and_their_redis(
    engine_kills: int, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        redis = KillableRedis(stack.enter_context(own_server("redis")))
        servers = await two_servers(stack, tmp_path, redis.url)
        await kill_under_load(servers, redis, engine_kills)


async def test_no_payment_differs_from_the_book_of_a_service_over_http_after_kills_of_both(
    engine_kills: int, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        stub = stack.enter_context(running_stub(tmp_path))
        services = KillableServices(stub, stack.enter_context(own_server("redis")).url)
        settings = {name: value for name, value in stub.settings.items() if "SMS" not in name}
        servers = await two_servers(stack, tmp_path, services.url, settings)
        kills = SHORT_OVER_HTTP if engine_kills == SHORT else engine_kills
        await kill_under_load(servers, services, kills)
        async with open_client(services.url) as client:
            print(f"decided: {dict(await assert_books_agree(RawStore(client, 'tp'), stub))}")  # noqa: T201


class KillableServices:
    """The settlement service of the servers, as what is killed beside them; the store keeps running."""

    def __init__(self, stub: ServicesStub, store_url: str) -> None:
        self.url = store_url
        self._stub = stub

    async def kill(self) -> None:
        self._stub.end()
        self._stub.start(wait=False)


async def two_servers(
    stack: AsyncExitStack, folder: Path, url: str, settings: Mapping[str, str] | None = None
) -> list[KillableServer]:
    return [
        KillableServer(
            await stack.enter_async_context(running_preforked("serve")),
            folder / name, "--redis", url, "--init", settings=settings,
        )
        for name in ("first", "second")
    ]  # fmt: skip


async def kill_under_load(servers: Sequence[KillableServer], store: KillableStore, engine_kills: int) -> None:
    """Run clients while servers and store are killed; then compare the store with their responses."""
    seed = random.randrange(10**6)
    print(f"\nseed {seed}")  # noqa: T201
    chance, journal = random.Random(seed), Journal()
    async with running(servers), aiohttp.ClientSession() as session:
        line = Line(session, [server.url for server in servers], journal)
        crowd = HttpClients(line, seed, SHOPPERS, PAUSE_S)
        killer = RandomKiller(chance, servers, store, lambda: len(journal.answers))
        async with asyncio.TaskGroup() as group:
            group.create_task(crowd.shop())
            await killer.fire(engine_kills // 2, engine_kills // 4)
            crowd.has_time = False
            await killer.fire(engine_kills - engine_kills // 2, engine_kills // 2 - engine_kills // 4)
            crowd.is_going_home = True
        async with open_client(store.url) as client:
            verdict = await judge(journal, RawStore(client, "tp"), store.url, line, killer.kills)
    print(f"answers: {dict(journal.outcomes)}")  # noqa: T201
    verdict.conclude()
    errors = [error for server in servers for error in server.errors()]
    assert not errors, "\n".join(errors)


@asynccontextmanager
async def running(servers: Sequence[KillableServer]) -> AsyncIterator[None]:
    """Run servers; at the end they drain."""
    try:
        for server in servers:
            await server.start()
        yield
        for server in servers:
            await server.stop()
    finally:
        for server in servers:
            await server.end()
