"""Whether a store may be used: each reason against it is one clear line with the setting that overrules it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from redis.asyncio import Redis
from support.fixtures.store_setup import operation
from support.proxies.faulty_proxy import answering_server
from support.servers.real_servers import running_server

from technopay.engine.commands import SetLimit
from technopay.engine.errors import StoreUnfit, StoreUninitialised
from technopay.storage import RedisStore, initialise_store
from technopay.storage.server.health import Durability, require_durable, require_primary

GOOD = {
    "appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction", "role": "master", "cluster_enabled": "0", "redis_version": "7.0.15",
}  # fmt: skip
LEVELS: tuple[Durability, ...] = ("always", "everysec", "unchecked")


@pytest.fixture(scope="module", params=["valkey", "redis"])
def own_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that a test may make unfit."""
    request.getfixturevalue(f"{request.param}_url")
    with running_server(request.param) as url:
        yield url


@pytest.fixture
async def client(own_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(own_url, decode_responses=True) as client:
        yield client
        for name in ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"):
            await client.config_set(name, GOOD[name])
        await client.flushall()


def test_a_good_store_is_taken() -> None:
    require_primary(GOOD)
    for level in LEVELS:
        require_durable(GOOD, level)


@pytest.mark.parametrize(
    ("change", "words", "overruled_by"),
    [
        ({"appendonly": "no"}, "appendonly is no", "unchecked"),
        ({"appendfsync": "everysec"}, "lose acknowledged payments: appendfsync is everysec", "everysec"),
        ({"appendfsync": "no"}, "appendfsync is no", "unchecked"),
        ({"no-appendfsync-on-rewrite": "yes"}, "not durable during rewrites", "unchecked"),
        ({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru", "unchecked"),
    ],
)
async def test_a_store_that_can_lose_or_forget_is_refused_and_can_be_overruled_by_name(
    client: Any, own_url: str, change: dict[str, str], words: str, overruled_by: Durability
) -> None:
    for name, value in change.items():
        await client.config_set(name, value)
    for level in LEVELS:
        store = RedisStore.connect(own_url, initialise=True, durability=level)
        if level == overruled_by or level == "unchecked":
            async with store:
                await store.ping()
            continue
        with pytest.raises(StoreUnfit, match=words) as refused:
            await store.open()
        assert f"TECHNOPAY_DURABILITY={overruled_by}" in str(refused.value)
        assert "\n" not in str(refused.value)


async def test_a_store_that_does_not_tell_its_configuration_is_refused_and_can_be_overruled(
    client: Any, own_url: str
) -> None:
    await client.execute_command("ACL", "SETUSER", "shy", "on", ">secret", "~*", "+@all", "-config")
    url = own_url.replace("unix://", "unix://shy:secret@")
    with pytest.raises(StoreUnfit, match="does not show its configuration") as refused:
        await RedisStore.connect(url, initialise=True).open()
    assert "TECHNOPAY_DURABILITY=unchecked" in str(refused.value)
    async with RedisStore.connect(url, initialise=True, durability="unchecked") as store:
        await store.ping()


async def test_a_replica_is_refused_whatever_the_durability(client: Any, own_url: str) -> None:
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        for level in LEVELS:
            with pytest.raises(StoreUnfit, match="is a replica"):
                await RedisStore.connect(own_url, initialise=True, durability=level).open()
    finally:
        await client.execute_command("REPLICAOF", "NO", "ONE")


def test_a_cluster_is_refused() -> None:
    with pytest.raises(StoreUnfit, match="is a cluster"):
        require_primary(GOOD | {"cluster_enabled": "1"})


@pytest.mark.parametrize(
    ("version", "fits"), [("6.2.14", False), ("7.0.0", True), ("7.2.4", True), ("10.0.1", True)]
)
def test_an_old_server_is_refused(version: str, fits: bool) -> None:
    refused = pytest.raises(StoreUnfit, match=r"is version 6\.2\.14; 7\.0 or later")
    with nullcontext() if fits else refused:
        require_primary(GOOD | {"redis_version": version})


async def test_a_server_too_old_for_the_commands_of_the_check_is_refused_as_old() -> None:
    info = b"redis_version:6.2.14\r\nrole:master\r\ncluster_enabled:0\r\n"
    replies = {
        "INFO": b"$%d\r\n%s\r\n" % (len(info), info),
        "CONFIG": b"-ERR Unknown subcommand or wrong number of arguments for 'GET'. Try CONFIG HELP.\r\n",
    }
    async with answering_server(replies) as url:
        with pytest.raises(StoreUnfit, match=r"is version 6\.2\.14"):
            await RedisStore.connect(url).open()


async def test_another_time_zone_is_refused(own_url: str, client: Any) -> None:
    async with RedisStore.connect(own_url, initialise=True, timezone="Europe/Berlin"):
        pass
    with pytest.raises(StoreUnfit, match="has timezone Europe/Berlin, this program UTC"):
        await RedisStore.connect(own_url).open()
    async with RedisStore.connect(own_url, timezone="Europe/Berlin"):
        pass


async def test_a_store_that_was_never_initialised_is_refused_and_says_what_to_do(
    own_url: str, client: Any
) -> None:
    with pytest.raises(StoreUninitialised, match="never initialised, or it lost its data"):
        await RedisStore.connect(own_url).open()
    assert await client.dbsize() == 0


async def test_a_store_is_initialised_on_purpose_and_once(own_url: str, client: Any) -> None:
    assert await initialise_store(own_url, timezone="UTC", durability="always")
    async with RedisStore.connect(own_url) as store:
        meta = await store.read_meta()
    assert not await initialise_store(own_url, timezone="UTC", durability="always")
    async with RedisStore.connect(own_url, initialise=True) as store:
        assert await store.read_meta() == meta


async def test_a_database_that_holds_something_else_is_not_initialised(own_url: str, client: Any) -> None:
    await client.set("session:1", "somebody else's")
    for _ in range(2):
        with pytest.raises(StoreUnfit, match="holds 1 keys that are not technopay's; use an empty one"):
            await initialise_store(own_url, timezone="UTC", durability="always")
    assert await client.dbsize() == 1


async def test_a_store_with_a_journal_but_no_meta_record_lost_data_and_is_not_initialised(
    own_url: str, client: Any
) -> None:
    async with RedisStore.connect(own_url, initialise=True) as store:
        await store.run(SetLimit(operation(), "EUR", 5))
    await client.delete("{tp:00}:meta")
    with pytest.raises(StoreUnfit, match="it lost data; restore it"):
        await initialise_store(own_url, timezone="UTC", durability="always")
    with pytest.raises(StoreUnfit, match="it lost data; restore it"):
        await RedisStore.connect(own_url, initialise=True).open()
    assert await client.exists("{tp:00}:meta") == 0


async def test_a_store_that_must_not_be_used_is_not_initialised(own_url: str, client: Any) -> None:
    await client.config_set("appendfsync", "everysec")
    with pytest.raises(StoreUnfit, match="appendfsync is everysec"):
        await initialise_store(own_url, timezone="UTC", durability="always")
    assert await client.dbsize() == 0
