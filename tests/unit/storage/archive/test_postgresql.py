"""An archive in PostgreSQL: durable, and unavailable, never more, while its server is away."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from support.servers.postgresql_server import PostgresServer, postgres_server

from technopay.engine.errors import ArchiveUnavailable
from technopay.storage.archive import postgresql
from technopay.storage.archive.database import ArchiveUnfit, Change
from technopay.storage.archive.postgresql import PostgresDatabase

CREATE = Change("CREATE TABLE texts (text TEXT)")
ALL = "SELECT text FROM texts ORDER BY text"
PASSWORD = "s%C3%A9cret%2Fphrase"
PASSWORD_PARTS = ("cret", "phrase")


def add(*texts: str) -> list[Change]:
    return [Change("INSERT INTO texts VALUES ($1)", [(text,) for text in texts])]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that tests end and start again."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def url(server: PostgresServer) -> str:
    return await server.new_schema()


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg notices only by a timeout that the server has gone while it waits to send more."""
    monkeypatch.setattr(postgresql, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(postgresql, "FETCH_S_MAX", 1.0)


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url)
    await database.open()
    await database.write([CREATE])
    yield database
    await database.aclose()


async def write_until_done(database: PostgresDatabase, text: str) -> int:
    """Write, again while the server is away; return how often it was."""
    for missed in range(100):
        with contextlib.suppress(ArchiveUnavailable):
            assert await database.write(add(text))
            return missed
        await asyncio.sleep(0.02)
    raise AssertionError("the server does not come back")


async def test_a_commit_is_on_the_disk_before_it_is_confirmed(postgres: PostgresServer) -> None:
    name = await postgres.new_database()
    await postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    assert await postgres.run("SHOW synchronous_commit", name) == [("off",)]
    database = PostgresDatabase(postgres.url(name))
    await database.open()
    for _ in range(3):  # the pool resets a connection each time
        assert await database.fetch("SHOW synchronous_commit") == [("on",)]
    assert await database.fetch("SHOW application_name") == [("technopay",)]
    await database.aclose()


async def test_a_server_without_fsync_is_refused_each_time() -> None:
    with postgres_server("fsync=off") as server:
        database = PostgresDatabase(server.url())
        for _ in range(2):
            with pytest.raises(ArchiveUnfit, match="has fsync off: what it commits can be lost"):
                await database.open()
        with pytest.raises(ArchiveUnavailable, match="it is not open"):
            await database.fetch("SELECT 1")
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'technopay'"
        assert await server.run(left) == [(0,)]


async def test_without_its_package_the_message_says_what_to_install() -> None:
    program = (
        "import asyncio, sys\n"
        "sys.modules['asyncpg'] = None\n"
        "from technopay.storage.archive.archive import Archive\n"
        "asyncio.run(Archive.at('postgresql://host/db').database.open())\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "ArchiveUnfit: an archive in PostgreSQL needs the package asyncpg" in ended.stderr
    assert "technopay[postgres]" in ended.stderr


@pytest.mark.parametrize(
    ("role", "base", "why"),
    [
        ("reader", "postgres", 'password authentication failed for user "reader"'),
        ("technopay", "nothing", 'database "nothing" does not exist'),
    ],
)
async def test_a_wrong_password_or_database_is_named_without_the_password(
    server: PostgresServer, role: str, base: str, why: str
) -> None:
    await server.run("DROP ROLE IF EXISTS reader")
    await server.run("CREATE ROLE reader LOGIN PASSWORD 'another'")
    database = PostgresDatabase(server.url(base, role, PASSWORD))
    with pytest.raises(ArchiveUnavailable) as caught:
        await database.open()
    assert why in str(caught.value)
    assert not any(part in str(caught.value) for part in PASSWORD_PARTS)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s/cret:phrase@host/base",
        "postgresql://user:1:cret/phrase@host:base",
        "postgresql://user:cretphrase@host:port/base",
        "postgresql://user:cretphrase@[host/base",
        "postgresql://user:cretphrase@a,b:1,2,3/base",
        "postgresql://user:cretphrase@host/base?sslmode=cretphrase",
    ],
)
async def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises((ArchiveUnfit, ArchiveUnavailable)) as caught:
        await PostgresDatabase(url).open()
    assert not any(part in str(caught.value) for part in PASSWORD_PARTS)


async def test_a_server_that_is_away_at_first_is_unavailable_until_it_is_there(
    server: PostgresServer, url: str
) -> None:
    database = PostgresDatabase(url)
    server.kill()
    try:
        for _ in range(2):
            with pytest.raises(ArchiveUnavailable, match="The archive in PostgreSQL: "):
                await database.open()
        with pytest.raises(ArchiveUnavailable):
            await database.fetch("SELECT 1")
    finally:
        server.start()
    await database.open()
    assert await database.write([CREATE])
    await database.aclose()


@pytest.mark.parametrize("delay_ms", [0, 2, 5, 10, 20, 40])
async def test_a_server_that_is_killed_in_the_middle_of_a_write_is_unavailable(
    server: PostgresServer, database: PostgresDatabase, delay_ms: int
) -> None:
    await database.write(add("a"))
    big = asyncio.create_task(
        database.write([*add(*(f"big {number}" for number in range(20_000))), *add("big")])
    )
    await asyncio.sleep(delay_ms / 1_000)
    server.kill()
    try:
        (result,) = await asyncio.gather(big, return_exceptions=True)
        with pytest.raises(ArchiveUnavailable):
            await database.write(add("b"))
        with pytest.raises(ArchiveUnavailable):
            await database.fetch(ALL)
    finally:
        server.start()
    assert isinstance(result, ArchiveUnavailable)
    assert await write_until_done(database, "c") <= 4  # a connection of the pool each
    ((count,),) = await database.fetch("SELECT count(*) FROM texts WHERE text LIKE 'big%'")
    assert count in (0, 20_001)
    assert await database.fetch("SELECT text FROM texts WHERE text NOT LIKE 'big%' ORDER BY text") == [
        ("a",), ("c",),
    ]  # fmt: skip


async def test_a_server_that_was_started_again_between_two_writes_is_no_error(
    server: PostgresServer, database: PostgresDatabase
) -> None:
    await database.write(add("a"))
    server.start_again()
    assert await write_until_done(database, "b") <= 1
    assert await database.fetch(ALL) == [("a",), ("b",)]


async def test_a_server_that_does_not_reply_is_unavailable_within_a_bound(
    server: PostgresServer, url: str
) -> None:
    database, other = PostgresDatabase(url), PostgresDatabase(url)
    await database.open()
    await database.write([CREATE])
    server.pause()
    try:
        for call in (database.write(add("a")), database.fetch(ALL), other.open()):
            with pytest.raises(ArchiveUnavailable):
                async with asyncio.timeout(5):
                    await call
        task = asyncio.create_task(database.write(add("b")))
        await asyncio.sleep(0.1)
        task.cancel()
        canceled_at = time.monotonic()
        await asyncio.gather(task, return_exceptions=True)
        assert time.monotonic() - canceled_at < postgresql.TIMEOUT_S / 2  # it waits for no reply
        async with asyncio.timeout(5):
            await database.aclose()
    finally:
        server.resume()
    await database.open()
    await write_until_done(database, "c")
    await database.aclose()


async def test_a_lock_that_another_client_keeps_is_unavailable_within_a_bound(
    server: PostgresServer, url: str
) -> None:
    import asyncpg

    database = PostgresDatabase(url)
    await database.open()
    await database.write([CREATE])
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE texts")
            with pytest.raises(ArchiveUnavailable, match="TimeoutError"):
                await database.write(add("a"))
    finally:
        await other.close()
    assert await database.write(add("b"))
    assert await database.fetch(ALL) == [("b",)]
    await database.aclose()


async def test_a_connection_that_the_server_ends_is_unavailable_once(
    server: PostgresServer, database: PostgresDatabase
) -> None:
    ended = await server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'technopay'"
    )
    assert ended
    assert await write_until_done(database, "a") <= len(ended)
    assert await database.fetch(ALL) == [("a",)]


async def test_a_transaction_that_fails_is_ended_by_us_and_not_by_the_pool(database: PostgresDatabase) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    with pytest.raises(ArchiveUnavailable):
        await database.write([*add("a"), Change("no SQL")])
    assert await database.write(add("b"))
    assert reported == []
