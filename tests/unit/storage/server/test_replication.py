"""Replies that wait for replicas: what is held, in which batches, and when the outcome is unknown."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import ConnectionPool, Redis
from support.fixtures.engine_setup import wait_for

from technopay.engine.errors import OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.loader import load_scripts
from technopay.storage.server import client as client_module
from technopay.storage.server.client import ServerClient
from technopay.storage.server.connection import PendingCall, connect
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.health import HealthCheck, replicas_of
from technopay.storage.server.replication import Acknowledgements, ReplicaWait

SCRIPTS = load_scripts()
REPLICAS, WAIT_MS = 2, 500


class FakeConnection:
    """Keeps the calls that are sent; a test replies to them."""

    def __init__(self) -> None:
        self.calls: list[PendingCall] = []
        self.is_lost = False

    def send(self, call: PendingCall) -> None:
        self.calls.append(call)

    def reply(self, written: Any, acknowledged: Any) -> None:
        """Reply to the oldest write and its WAIT."""
        (write, wait), self.calls = self.calls[:2], self.calls[2:]
        assert write.script is not None
        assert write.script.name == "write_tick"
        assert wait.command == b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$3\r\n500\r\n"
        write.complete(written)
        wait.complete(acknowledged)


class Held:
    def __init__(self) -> None:
        self.connection = FakeConnection()
        connection: Any = self.connection
        self.failures = 0
        self.results: list[Any] = []
        wait = ReplicaWait(REPLICAS, WAIT_MS, SCRIPTS["write_tick"], lambda: ("{tp:00}:journal",))
        self.replies = Acknowledgements(connection, wait, self._fail)

    async def come(self, *replies: Any, script: str | None = "change_balance") -> None:
        """Let replies come in one tick of the loop."""
        for reply in replies:
            self.replies.on_reply(SCRIPTS[script] if script else None, self.results.append, reply)
        await asyncio.sleep(0)

    def _fail(self) -> None:
        self.failures += 1


@pytest.fixture
async def held() -> Held:
    return Held()


async def test_the_replies_of_a_tick_wait_together_and_later_ones_for_the_next_batch(held: Held) -> None:
    await held.come(["ok", 1], ["ok", 2])
    await held.come(["ok", 3])
    assert (held.results, held.replies.held, len(held.connection.calls)) == ([], 3, 2)

    held.connection.reply(["ok"], REPLICAS)
    assert (held.results, held.replies.held, len(held.connection.calls)) == ([["ok", 1], ["ok", 2]], 1, 2)
    held.connection.reply(["ok"], REPLICAS + 1)
    assert (held.results[2:], held.replies.held, held.connection.calls) == ([["ok", 3]], 0, [])
    await held.come(["ok", 4])
    assert len(held.connection.calls) == 2


@pytest.mark.parametrize(
    ("written", "acknowledged", "failures"),
    [
        (["ok"], REPLICAS - 1, 0),
        (StoreUnavailable(), REPLICAS, 0),
        (["ok"], OutcomeUnknown(), 1),
    ],
)
async def test_without_the_write_or_enough_replicas_an_outcome_is_unknown(
    held: Held, written: Any, acknowledged: Any, failures: int
) -> None:
    await held.come(["ok", 1], ["ok", 2])
    held.connection.reply(written, acknowledged)

    assert [type(result) for result in held.results] == [OutcomeUnknown, OutcomeUnknown]
    assert held.failures == failures


async def test_a_write_that_comes_after_its_wait_proves_nothing(held: Held) -> None:
    """Its script had to be loaded first."""
    await held.come(["ok", 1])
    write, wait = held.connection.calls
    wait.complete(REPLICAS)
    write.complete(["ok"])
    assert [type(result) for result in held.results] == [OutcomeUnknown]


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("change_balance", StoreUnavailable()),
        ("read_meta", ["ok", "1", "", []]),
        ("claim_relay", ["nothing", "1", ""]),
        ("claim_relay", ["busy", "1", ""]),
        ("take_due", ["ok", "1", "", [], [], "5", 0, [], []]),
        (None, []),
    ],
)
async def test_faults_health_looks_and_idle_polls_do_not_wait(
    held: Held, script: str | None, reply: Any
) -> None:
    await held.come(reply, script=script)
    assert (held.results, held.connection.calls) == ([reply], [])


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("claim_relay", ["ok", "1", "3", [], "1-0", 1]),
        ("take_due", ["ok", "1", "", ["payment"], [], "", 0, [], []]),
        ("take_due", ["ok", "1", "", [], ["message"], "", 0, [], []]),
        ("read_wallet", ["replayed", "1", ""]),
        (None, [["1-0", ["wallet.deposited", "wal_1"]]]),
    ],
)
async def test_a_poll_that_took_something_and_a_read_wait(held: Held, script: str | None, reply: Any) -> None:
    await held.come(reply, script=script)
    assert (held.results, held.replies.held) == ([], 1)


async def test_a_handler_that_fails_costs_no_other_call_its_result(held: Held) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    held.replies.on_reply(SCRIPTS["change_balance"], fail, ["ok"])
    await held.come(["ok", 1])
    held.connection.reply(["ok"], REPLICAS)
    assert held.results == [["ok", 1]]


JOURNAL = "{none:00}:journal"
NO_REPLICA = ReplicaWait(0, 50, SCRIPTS["write_tick"], lambda: (JOURNAL,))
"""A WAIT for no replica is over at once."""


@pytest.fixture
async def client(server_url: str) -> AsyncIterator[ServerClient]:
    library = SCRIPTS["change_balance"].library
    opened = ServerClient(server_url, library=library, reply_timeout_s=2.0, replica_wait=NO_REPLICA)
    yield opened
    await opened.aclose()


async def ask(client: ServerClient, user_id: str) -> Any:
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.send(SCRIPTS["read_user"], (JOURNAL,), (user_id,), reply.set_result)
    return await reply


async def test_a_write_follows_the_replies_of_a_server(client: ServerClient, server_url: str) -> None:
    async with Redis.from_url(server_url) as other:
        assert [each[0] for each in await asyncio.gather(*(ask(client, "nobody") for _ in range(40)))] == [
            "user_not_found"
        ] * 40
        assert await other.delete("{none:00}:tick") == 1


async def test_a_lost_second_connection_is_opened_again_with_the_first_one(client: ServerClient) -> None:
    await ask(client, "nobody")
    first, second = client._connection, client._acknowledgements
    assert second is not None
    client.watch(0.02)
    second.abort()

    async def is_open_again() -> bool:
        return client._connection not in (None, first) and client._acknowledgements is not second

    assert await wait_for(is_open_again)
    assert (await ask(client, "nobody"))[0] == "user_not_found"


async def test_both_connections_have_to_reach_one_server(
    client: ServerClient, valkey_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = iter((valkey_url, redis_url))

    async def connect_to_next(_: ConnectionPool, *options: Any, **more: Any) -> Any:
        return await connect(ConnectionPool.from_url(next(servers)), *options, **more)

    monkeypatch.setattr(client_module, "connect", connect_to_next)
    with pytest.raises(StoreUnavailable, match="two connections to the store reach two servers"):
        await client.check()


def line(number: int, state: str = "online", lag: int = 0) -> dict[str, str]:
    return {f"slave{number}": f"ip=10.0.0.{number},port=6379,state={state},offset=1,lag={lag}"}


def test_only_replicas_that_keep_up_count() -> None:
    info = {"connected_slaves": "4"} | line(0) | line(1, "wait_bgsave") | line(2, lag=11) | line(3, lag=10)
    assert replicas_of(info) == [("10.0.0.0", 6379), ("10.0.0.3", 6379)]
    assert replicas_of({}) == []


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        (["appendonly", "yes", "appendfsync", "everysec"], "the replica 10.0.0.2:6379 can lose acknowledged"),
        (["appendonly", "no"], "the replica 10.0.0.2:6379 is not durable: appendonly is no"),
        (Exception("ERR unknown command"), "the replica 10.0.0.2:6379 does not show its configuration"),
        (OSError("refused"), "the replica 10.0.0.2:6379 does not show its configuration"),
    ],
)
async def test_a_weak_or_silent_replica_is_refused(reply: Any, refused: str) -> None:
    async def ask_replica(host: str, port: int, _: Any) -> Any:
        assert (host, port) == ("10.0.0.2", 6379)
        if isinstance(reply, OSError):
            raise reply
        return reply

    health = HealthCheck(DataCheck(Keys(), "UTC"), durability="always", replicas=1)
    with pytest.raises(StoreUnfit, match=refused):
        await health._check_replica(ask_replica, "10.0.0.2", 6379)
