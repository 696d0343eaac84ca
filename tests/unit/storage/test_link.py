"""The link: batches, scripts that the server forgot, and what error replies mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.proxy import answering_server
from support.scene import Scene, client_of

from technopay.engine.errors import InternalError, StoreUnavailable
from technopay.storage import RedisStore
from technopay.storage import link as link_module
from technopay.storage.link import DirectLink, ServerLink
from technopay.storage.scripts import Script, load_scripts
from technopay.storage.wire import Wire

READ_META = load_scripts()["read_meta"]


@pytest.fixture
async def server_store(server_url: str, namespace: str) -> AsyncIterator[RedisStore]:
    async with RedisStore.connect(server_url, initialise=True, namespace=namespace) as store:
        yield store


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many calls leave in each write."""
    written: list[int] = []
    flush = Wire._flush

    def spy(self: Wire) -> None:
        written.append(len(self._unsent))
        flush(self)

    monkeypatch.setattr(Wire, "_flush", spy)
    return written


async def test_the_scripts_of_one_tick_leave_in_one_write(server_store: RedisStore, writes: list[int]) -> None:
    await asyncio.gather(*(server_store.ping() for _ in range(50)))
    assert writes == [50]


async def test_calls_without_a_reply_are_bounded(
    server_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "CALLS_MAX", 5)
    results = await asyncio.gather(*(server_store.ping() for _ in range(8)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 5 + [StoreUnavailable] * 3
    await server_store.ping()


async def test_scripts_that_the_server_forgot_are_loaded_within_the_batch(server_store: RedisStore) -> None:
    scene = Scene(server_store)
    await scene.user("alice")
    wallet = await scene.wallet(balance=0)
    await client_of(server_store).script_flush()
    await server_store.ping()
    results: list[Any] = await asyncio.gather(
        server_store.read_meta(),
        server_store.read_user("alice"),
        *(scene.deposit(wallet, 1) for _ in range(6)),
    )
    assert results.pop(0)["schema"] == "1"
    assert [result.code for result in results] == ["ok"] * 7
    assert await scene.money(wallet) == (6, 0)


async def test_no_client_of_ours_sends_anything_twice(tmp_path: Path) -> None:
    stores = [RedisStore.connect(url) for url in ("redis://h", "rediss://h", "unix:///s")]
    stores.append(RedisStore.embedded(tmp_path))
    for store in stores:
        assert store._url is not None
        link = ServerLink(store._url, "j", connect_timeout_s=1, reply_timeout_s=1)
        connection = link._pool.make_connection()  # type: ignore[no-untyped-call]
        assert connection.retry.get_retries() == 0
        assert connection.socket_timeout is None
        assert not getattr(connection, "retry_on_error", None)


async def test_a_store_that_is_not_open_is_unavailable() -> None:
    store = RedisStore.fake()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.open()
    await store.ping()
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def answered(error: str) -> BaseException:
    """Run a script on a server that answers with an error."""
    async with answering_server({"EVALSHA": f"-{error}\r\n".encode()}) as url:
        link = ServerLink(url, "j", connect_timeout_s=1, reply_timeout_s=1)
        try:
            await link.run(READ_META, [])
        except Exception as failure:
            return failure
        finally:
            await link.aclose()
    raise AssertionError("no error came")


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "READONLY You can't write against a read only replica. script: abc, on @user_script:1.",
        "OOM command not allowed when used memory > 'maxmemory'. script: abc, on @user_script:1.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "NOSCRIPT No matching script. Please use EVAL.",
    ],
)
async def test_an_error_that_says_that_nothing_ran_is_unavailable(error: str) -> None:
    async with asyncio.timeout(5):
        assert type(await answered(error)) is StoreUnavailable


@pytest.mark.parametrize(
    "error",
    [
        "ERR user_script:3: Script attempted to access nonexistent global variable 'x'",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOPERM this user has no permissions to run the 'hset' command",
    ],
)
async def test_any_other_error_is_a_defect_of_ours_and_is_logged(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert type(await answered(error)) is InternalError
    assert error.split(" ", 1)[1] in caplog.text


async def test_a_failing_script_fails_alone(server_store: RedisStore, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(server_store)
    await scene.user("alice")
    await client_of(server_store).set(scene.keys.key("wallet", "wal_broken"), "not a hash")
    results = await asyncio.gather(
        server_store.read_user("alice"),
        server_store.read_wallet("wal_broken", None),
        server_store.read_user("alice"),
        return_exceptions=True,
    )
    assert isinstance(results[1], InternalError)
    assert [getattr(result, "code", None) for result in results] == ["ok", "internal_error", "ok"]
    assert "a script failed" in caplog.text


async def test_a_faked_store_tells_a_defect_on_the_first_run_of_a_script_too(fake_store: RedisStore) -> None:
    link = fake_store._link
    assert isinstance(link, DirectLink)
    broken = Script("broken", "return redis.call('NOSUCH')", "0" * 40, ())
    with pytest.raises(InternalError):
        await link.run(broken, [])


async def test_closing_waits_for_what_is_under_way(server_url: str, namespace: str) -> None:
    store = RedisStore.connect(server_url, initialise=True, namespace=namespace)
    await store.open()
    calls = [asyncio.create_task(store.read_meta()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.aclose()
    metas = await asyncio.gather(*calls)
    assert all(meta["schema"] == "1" for meta in metas)
