"""The clients: order, limits, connecting, scripts forgotten by the server; and the fake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from support.fixtures.store_setup import Setup, client_of
from support.proxies.faulty_proxy import answering_server
from support.servers.server_tls import make_tls

from technopay.engine.commands import CompletePayment
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.reads import ReadUser
from technopay.storage import RedisStore
from technopay.storage.schema import SCHEMA
from technopay.storage.scripts.loader import Script, load_scripts
from technopay.storage.server import client as client_module
from technopay.storage.server.client import Argument, Client, ServerClient
from technopay.storage.server.connection import PipelinedConnection
from technopay.storage.server.fake import FakeClient

READ_META = load_scripts()["read_meta"]
KEY = "{none:00}:journal"
CHECKS = 5
"""The number of commands that check a store on every new connection."""


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the store on new connections only: every other command comes from the test."""
    monkeypatch.setattr("technopay.storage.store.CHECK_INTERVAL_S", 3600.0)


@pytest.fixture
async def server_store(server_url: str, namespace: str) -> AsyncIterator[RedisStore]:
    async with RedisStore.connect(server_url, initialise=True, namespace=namespace) as store:
        yield store


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of calls in each write."""
    written: list[int] = []
    flush = PipelinedConnection._flush

    def spy(self: PipelinedConnection) -> None:
        if self._unsent:
            written.append(len(self._unsent))
        flush(self)

    monkeypatch.setattr(PipelinedConnection, "_flush", spy)
    return written


async def ask(client: Client, script: Script, *arguments: Argument) -> Any:
    """Send a script and wait for its reply; raise a fault."""
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.send(script, (KEY,), arguments, reply.set_result)
    result = await reply
    if isinstance(result, Fault):
        raise result
    return result


@pytest.mark.parametrize("connected", [True, False])
async def test_calls_without_a_reply_are_bounded(
    server_store: RedisStore, monkeypatch: pytest.MonkeyPatch, connected: bool
) -> None:
    if not connected:
        await disconnect(server_store)
    monkeypatch.setattr(client_module, "CALLS_MAX", 5)
    results = await asyncio.gather(*(server_store.ping() for _ in range(8)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 5 + [StoreUnavailable] * 3
    await server_store.ping()


async def test_calls_sent_while_the_client_connects_leave_behind_the_scripts_in_their_order(
    server_store: RedisStore, writes: list[int]
) -> None:
    setup = Setup(server_store)
    await setup.user("alice")
    wallet = await setup.wallet(balance=1_000)
    await disconnect(server_store)
    writes.clear()
    calls: list[asyncio.Task[Any]] = []
    for tick in range(3):
        calls += [asyncio.create_task(setup.deposit(wallet, 10**tick)) for _ in range(2)]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*calls)
    assert sum(writes) == CHECKS + 1 + 6, "the checks, the scripts, then what waited"
    assert [outcome.value.balance for outcome in outcomes] == [1_001, 1_002, 1_012, 1_022, 1_122, 1_222]


async def test_calls_sent_while_the_client_connects_in_vain_never_happened() -> None:
    client = ServerClient("unix:///no/such/socket", reply_timeout_s=1)
    results = await asyncio.gather(*(ask(client, READ_META) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert all(isinstance(result.__cause__, Exception) for result in results if isinstance(result, Exception))
    await client.aclose()


async def test_a_client_that_was_closed_sends_nothing(server_url: str) -> None:
    client = ServerClient(server_url, reply_timeout_s=1)
    connecting = asyncio.create_task(ask(client, READ_META))
    await asyncio.sleep(0)
    await client.aclose()
    assert (await connecting)[0] == "ok"
    with pytest.raises(StoreUnavailable):
        await ask(client, READ_META)


async def test_no_result_comes_before_the_call_returned(
    server_store: RedisStore, fake_store: RedisStore
) -> None:
    closed = ServerClient("unix:///no/such/socket", reply_timeout_s=1)
    await closed.aclose()
    for client in (server_store._partition.client, fake_store._partition.client, closed):
        assert client is not None
        results: list[Any] = []
        client.send(READ_META, (KEY,), (), results.append)
        client.send_command(("XRANGE", "{none:00}:journal", "-", "+"), results.append)
        assert results == []
        async with asyncio.timeout(5):
            while len(results) < 2:  # noqa: ASYNC110 - the callback is no coroutine
                await asyncio.sleep(0.001)


async def test_a_command_that_only_reads_goes_without_a_script(store: RedisStore) -> None:
    await Setup(store).user("alice")
    client, results = store._partition.client, asyncio.get_running_loop().create_future()
    assert client is not None
    client.send_command(("XRANGE", store._keys.journal, "-", "+", "COUNT", 1), results.set_result)
    ((entry, flat),) = await results
    assert "-" in entry
    assert list(flat) == ["user.created", "alice"]


@pytest.mark.parametrize("reply", [b"$-1", b":7", b"*0", b"+OK", b"*3\r\n$2\r\nok\r\n$4\r\nsoon\r\n$0\r\n"])
async def test_a_reply_that_cannot_be_read_is_a_defect_for_that_call_alone(
    reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore.connect("redis://unused")
    async with answering_server({"FCALL": reply + b"\r\n", "XRANGE": b"+fine\r\n"}) as url:
        client = store._partition.client = ServerClient(url, reply_timeout_s=1)
        other = asyncio.create_task(store._partition.fetch("XRANGE"))
        with pytest.raises(InternalError):
            await store.read_meta()
        assert await other == "fine"
        await client.aclose()
    assert "the reply of read_meta cannot be read" in caplog.text


@pytest.mark.parametrize("view", ["no view", "pay_1"])
async def test_a_command_whose_outcome_cannot_be_read_has_a_defect_for_that_command_alone(
    view: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore.connect("redis://unused")
    reply = f"*4\r\n$2\r\nok\r\n$1\r\n1\r\n$0\r\n\r\n${len(view)}\r\n{view}\r\n"
    async with answering_server({"FCALL": reply.encode()}) as url:
        client = store._partition.client = ServerClient(url, reply_timeout_s=1)
        with pytest.raises(InternalError):
            await store.run(CompletePayment("pay_1", "1", "settled"))
        assert client._connection is not None
        assert not client._connection.is_lost
        await client.aclose()
    assert "the reply of complete_payment cannot be read" in caplog.text


async def disconnect(store: RedisStore) -> None:
    """Cut the connection, so that the next call needs a new one."""
    client = store._partition.client
    assert isinstance(client, ServerClient)
    assert client._connection is not None
    client._connection.abort()
    await asyncio.sleep(0)


async def test_scripts_that_the_server_forgot_are_loaded_without_a_change_of_the_order(
    server_store: RedisStore,
) -> None:
    setup = Setup(server_store)
    await setup.user("alice")
    wallet, invoice = await setup.wallet(balance=0), await setup.invoice(amount=1)
    await client_of(server_store).execute_command("FUNCTION", "FLUSH")
    await disconnect(server_store)
    # This script is loaded again; the one of the payment was not used yet.
    await setup.deposit(await setup.wallet(balance=0), 1)
    too_early, deposit = await asyncio.gather(setup.start(wallet, invoice), setup.deposit(wallet, 1))
    assert (too_early.code, deposit.code) == ("insufficient_funds", "ok")

    await client_of(server_store).execute_command("FUNCTION", "FLUSH")
    await server_store.ping()
    results: list[Any] = await asyncio.gather(
        server_store.read_meta(), setup.run(ReadUser("alice")), *(setup.deposit(wallet, 1) for _ in range(6))
    )
    assert results.pop(0)["schema"] == SCHEMA
    assert [result.code for result in results] == ["ok"] * 7
    assert await setup.money(wallet) == (7, 0)


async def test_redis_py_reads_the_url_and_never_connects(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would resend a command after a lost reply."""
    monkeypatch.delattr("redis.asyncio.connection.AbstractConnection.connect_check_health")
    client = ServerClient(f"{server_url}?db=3&client_name=till", reply_timeout_s=1)
    listed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.send_command(("CLIENT", "LIST"), listed.set_result)
    (ours,) = [line for line in (await listed).splitlines() if " name=till " in line]
    assert " db=3 " in ours
    await client.aclose()


async def test_a_server_with_tls_is_used_if_its_certificate_is_trusted(tmp_path: Path) -> None:
    tls, authority = make_tls(tmp_path)
    async with answering_server({"FCALL": b"+over TLS\r\n"}, tls=tls) as url:
        url = url.replace("redis://127.0.0.1", "rediss://localhost")
        trusting = ServerClient(f"{url}?ssl_ca_certs={authority}", reply_timeout_s=5)
        assert await ask(trusting, READ_META) == "over TLS"
        await trusting.aclose()
        careful = ServerClient(url, reply_timeout_s=5)
        with pytest.raises(StoreUnavailable, match="TLS fails: CERTIFICATE_VERIFY_FAILED"):
            await careful.check()


async def test_a_store_that_is_not_open_is_unavailable() -> None:
    store = RedisStore.fake()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.open()
    await store.ping()
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def test_a_defect_of_a_script_is_raised_on_its_first_run_on_a_fake_too(fake_store: RedisStore) -> None:
    client = fake_store._partition.client
    assert isinstance(client, FakeClient)
    broken = replace(READ_META, text="return redis.call('NOSUCH')")
    with pytest.raises(InternalError):
        await ask(client, broken)


@pytest.mark.corrupts
@pytest.mark.parametrize(
    ("error", "fault"), [(RedisConnectionError("gone"), OutcomeUnknown), (ValueError("crash"), InternalError)]
)
async def test_a_fake_that_is_gone_or_crashes_is_a_fault(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch, error: Exception, fault: type[Fault]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    client = fake_store._partition.client
    assert isinstance(client, FakeClient)
    monkeypatch.setattr(client._client, "execute_command", refuse)
    with pytest.raises(fault):
        await ask(client, READ_META)


async def test_a_connection_may_take_as_long_as_a_reply(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_unix_connection

    async def connect_slowly(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(1.1)  # a lost packet is sent again after a second
        return await connect(*arguments, **options)

    monkeypatch.setattr(loop, "create_unix_connection", connect_slowly)
    client = ServerClient(server_url, reply_timeout_s=30)
    await client.check()
    await client.aclose()
