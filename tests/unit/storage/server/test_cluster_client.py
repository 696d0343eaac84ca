"""The client of a cluster, and its map of the slots, over nodes with scripted replies."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hiredis import ReplyError
from support.proxies.faulty_proxy import answering_server
from support.servers.server_tls import make_tls

from technopay.engine.errors import Fault, StoreUnavailable
from technopay.storage.redis_keys import Keys
from technopay.storage.server import cluster as cluster_module
from technopay.storage.server import slot_map as slot_map_module
from technopay.storage.server.address import HostPort
from technopay.storage.server.client import ServerClient
from technopay.storage.server.cluster import ClusterClient
from technopay.storage.server.connection import PendingCall, fault
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.slot_map import SlotMap, ask_slots, parse_slots, slot_of

KEYS = Keys()
SLOT = slot_of(KEYS.tag)
ASKED = ("asked", 7000)


def node(host: str | None, port: int, *metadata: Sequence[str]) -> list[Any]:
    return [host, port, "id", *metadata]


def test_slots_are_read_with_their_primaries() -> None:
    """Nodes announce no host, a host name, or its absence with the address beside it."""
    slots = parse_slots(
        [
            [8192, 16383, node("b", 2), node("c", 3)],
            [0, 100, node(None, 1)],
            [200, 300, node("?", 4, ["ip", "10.0.0.4"])],
        ],
        ASKED,
    )
    found = {slot: slots.primary_of(slot) for slot in (0, 100, 101, 199, 200, 300, 301, 8191, 8192, 16383)}
    assert found == {
        0: ("asked", 1), 100: ("asked", 1), 101: None, 199: None, 200: ("10.0.0.4", 4), 300: ("10.0.0.4", 4),
        301: None, 8191: None, 8192: ("b", 2), 16383: ("b", 2),
    }  # fmt: skip
    assert slots.nodes == [("asked", 1), ("10.0.0.4", 4), ("b", 2), ("c", 3)]


@pytest.mark.parametrize("reply", [[], "OK", [[0, 1]], [["a", 1, node("b", 2)]], None])
def test_slots_that_cannot_be_read_are_refused(reply: Any) -> None:
    with pytest.raises(StoreUnavailable):
        parse_slots(reply, ASKED)


def slots_reply(port: int) -> bytes:
    """All slots are at a port of the host that is asked."""
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$-1\r\n:%d\r\n$2\r\nid\r\n" % port


def open_client(url: str) -> ClusterClient:
    client: ClusterClient

    def of_node(
        at: HostPort, partitions: Callable[[], Sequence[int]], keys: Callable[[], Sequence[str]]
    ) -> ServerClient:
        assert list(partitions()) == []
        assert keys() == (KEYS.journal, KEYS.guard(None))
        return ServerClient(url, reply_timeout_s=1, at=at)

    client = ClusterClient(url, data=DataCheck(KEYS, "UTC"), new_client=of_node)
    return client


async def run(client: ClusterClient, *words: str) -> Any:
    """Send a command of the partition and wait for its reply; raise a fault."""
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.of(KEYS).send_command(words, reply.set_result)
    result = await reply
    if isinstance(result, Fault):
        raise result
    return result


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def two_nodes(stack: AsyncExitStack, replies: list[dict[str, bytes]]) -> list[int]:
    """Run nodes whose replies can still change; return their ports."""
    return [port_of(await stack.enter_async_context(answering_server(each))) for each in replies]


async def test_a_call_goes_where_moved_says_and_is_refused_where_nodes_name_each_other() -> None:
    first: dict[str, bytes] = {"GET": b"+first\r\n"}
    second: dict[str, bytes] = {"GET": b"+second\r\n"}
    async with AsyncExitStack() as stack:
        ports = await two_nodes(stack, [first, second])
        for each in (first, second):
            each["CLUSTER"] = slots_reply(ports[0])
        client = open_client(f"redis+cluster://127.0.0.1:{ports[0]}")
        stack.push_async_callback(client.aclose)
        assert await run(client, "GET", "x") == "first"

        first["GET"] = b"-MOVED %d 127.0.0.1:%d\r\n" % (SLOT, ports[1])
        second["CLUSTER"] = slots_reply(ports[1])
        assert await run(client, "GET", "x") == "second"

        second["GET"] = b"-MOVED %d 127.0.0.1:%d\r\n" % (SLOT, ports[0])
        with pytest.raises(StoreUnavailable):
            await run(client, "GET", "x")


@pytest.mark.parametrize("reply", [b"-ASK %d 127.0.0.1:%d\r\n", b"-TRYAGAIN Multiple keys\r\n"])
async def test_a_slot_that_is_being_moved_is_not_followed(reply: bytes) -> None:
    first: dict[str, bytes] = {}
    second: dict[str, bytes] = {"GET": b"+second\r\n", "ASKING": b"+OK\r\n"}
    async with AsyncExitStack() as stack:
        ports = await two_nodes(stack, [first, second])
        for each in (first, second):
            each["CLUSTER"] = slots_reply(ports[0])
        first["GET"] = reply % (SLOT, ports[1]) if b"%" in reply else reply
        client = open_client(f"redis+cluster://127.0.0.1:{ports[0]}")
        stack.push_async_callback(client.aclose)
        with pytest.raises(StoreUnavailable):
            await run(client, "GET", "x")
        first["GET"] = b"+first\r\n"
        assert await run(client, "GET", "x") == "first"


class HeldNode:
    """The client of a node whose replies the test sends."""

    is_connected = True

    def __init__(self) -> None:
        self.calls: list[PendingCall] = []

    def send_call(self, call: PendingCall) -> None:
        self.calls.append(call)

    async def check(self, *, all_partitions: bool = False) -> None:
        assert all_partitions, "it gained a partition"

    async def aclose(self) -> None:
        pass


async def test_no_call_is_sent_to_another_node_before_all_under_way_have_their_outcomes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes: defaultdict[HostPort, Any] = defaultdict(HeldNode)
    owner: HostPort = ("a", 1)

    async def ask_slots(*_: object) -> SlotMap:
        return SlotMap((0,), ((16383, owner),), (owner,))

    monkeypatch.setattr(cluster_module, "ask_slots", ask_slots)
    monkeypatch.setattr(cluster_module, "LOOK_INTERVAL_S", 0)
    client = ClusterClient(
        "redis+cluster://a:1", data=DataCheck(KEYS, "UTC"), new_client=lambda at, *_: nodes[at]
    )
    route, results = client.of(KEYS), list[Any]()

    async def settled() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def send(*words: str) -> None:
        for word in words:
            route.send_command((word,), results.append)

    def sent(at: HostPort) -> list[bytes]:
        return [call.command.split()[-1] for call in nodes[at].calls]

    send("first", "second", "third")
    await settled()
    assert sent(("a", 1)) == [b"first", b"second", b"third"]

    owner = ("b", 2)
    moved = ReplyError(f"MOVED {SLOT} b:2")
    first, second, third = nodes["a", 1].calls
    first.complete(fault(StoreUnavailable(), moved))
    send("fourth")
    await settled()
    third.complete("done")
    send("fifth")
    await settled()
    assert sent(("b", 2)) == []
    second.complete(fault(StoreUnavailable(), moved))
    await settled()
    assert sent(("b", 2)) == [b"first", b"second", b"fourth", b"fifth"]
    assert results == ["done"]
    await client.aclose()


async def test_calls_that_wait_for_their_node_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CALLS_MAX", 5)
    replies: dict[str, bytes] = {"GET": b"+OK\r\n"}
    async with AsyncExitStack() as stack:
        [port] = await two_nodes(stack, [replies])
        replies["CLUSTER"] = slots_reply(port)
        client = open_client(f"redis+cluster://127.0.0.1:{port}")
        stack.push_async_callback(client.aclose)
        results = await asyncio.gather(*(run(client, "GET", "x") for _ in range(8)), return_exceptions=True)
        assert [type(result) for result in results] == [str] * 5 + [StoreUnavailable] * 3
        assert client.held == 0
        assert await run(client, "GET", "x") == "OK"


async def test_a_cluster_that_does_not_reply_is_named_with_the_reason_of_each_node() -> None:
    replies = {"CLUSTER": b"-ERR This instance has cluster support disabled\r\n"}
    async with answering_server(replies) as url:
        client = open_client(f"redis+cluster://127.0.0.1:1,127.0.0.1:{port_of(url)}")
        with pytest.raises(StoreUnavailable) as refused:
            await client.check()
        assert str(refused.value) == (
            "The store cannot be reached: no node of the cluster replies (127.0.0.1:1: nothing listens there; "
            f"127.0.0.1:{port_of(url)}: ERR This instance has cluster support disabled)"
        )
        with pytest.raises(StoreUnavailable):
            await run(client, "GET", "x")
        await client.aclose()


async def test_nodes_with_tls_and_a_password_are_used(tmp_path: Path) -> None:
    tls, authority = make_tls(tmp_path)
    replies: dict[str, bytes] = {"GET": b"+over TLS\r\n", "AUTH": b"+OK\r\n"}
    async with answering_server(replies, tls=tls) as url:
        port = port_of(url)
        replies["CLUSTER"] = slots_reply(port)
        client = open_client(f"rediss+cluster://:sesame@localhost:{port}/?ssl_ca_certs={authority}")
        assert await run(client, "GET", "x") == "over TLS"
        await client.aclose()
        careless = open_client(f"rediss+cluster://localhost:{port}")
        with pytest.raises(StoreUnavailable, match="TLS fails: CERTIFICATE_VERIFY_FAILED"):
            await careless.check()
        await careless.aclose()


async def test_slots_of_a_node_out_of_touch_with_the_others_are_the_last_resort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A former primary that the others do not reach names itself, for ever."""
    states = {"former": "cluster_state:fail", "other": "cluster_state:ok"}

    async def ask(_: object, asked: HostPort) -> list[Any]:
        return [[[0, 16383, node(asked[0], 1)]], states[asked[0]]]

    monkeypatch.setattr(slot_map_module, "_ask", ask)
    sign_in: Any = None
    nodes: list[HostPort] = [("former", 1), ("other", 1)]
    assert (await ask_slots(sign_in, nodes)).primary_of(0) == ("other", 1)
    states["other"] = "cluster_state:fail"
    assert (await ask_slots(sign_in, nodes)).primary_of(0) == ("former", 1)


async def test_a_client_that_closes_makes_no_client_of_a_node_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def hang(*_: object) -> SlotMap:
        asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(cluster_module, "ask_slots", hang)
    made: list[HostPort] = []

    def make(at: HostPort, *_: object) -> Any:
        made.append(at)
        return HeldNode()

    client = ClusterClient("redis+cluster://a:1", data=DataCheck(KEYS, "UTC"), new_client=make)
    client.watch(3600)
    results: list[Any] = []
    client.of(KEYS).send_command(("GET", "x"), results.append)
    await asked.wait()
    await client.aclose()
    await asyncio.sleep(0)
    assert [type(result) for result in results] == [StoreUnavailable]
    client.of(KEYS).send_command(("GET", "x"), results.append)
    for _ in range(5):
        await asyncio.sleep(0)
    assert made == []
    assert client.servers == []
