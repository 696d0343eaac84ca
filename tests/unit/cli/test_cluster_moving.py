"""The order of a move key by key: it can be broken off behind each command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from technopay.cli.cluster import moving
from technopay.cli.cluster.moving import MoveError
from technopay.cli.cluster.nodes import Node
from technopay.storage.redis_keys import Keys
from technopay.storage.server.address import HostPort

KEYS = Keys(partition=7)


class FakeNode:
    """A node that records commands and replies with what a test gave it."""

    def __init__(self, name: str, log: list[tuple[Any, ...]], replies: dict[str, list[Any]]) -> None:
        self.name, self.address = name, (name, 1)
        self._log, self._replies = log, replies

    async def run(self, *words: str | int) -> Any:
        self._log.append((self.name, *words))
        found = self._replies.get(str(words[1] if words[0] == "CLUSTER" else words[0]))
        return found.pop(0) if found else "OK"

    async def id(self) -> str:
        return f"id-{self.name}"


async def test_the_meta_record_goes_first_and_the_target_gets_the_slot_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[tuple[Any, ...]] = []
    batches = {"GETKEYSINSLOT": [["a", "b"], ["c"], []]}
    cluster: Any = None
    old: Any = FakeNode("old", log, batches)
    new: Any = FakeNode("new", log, {})

    async def own(_: object, slot: int, node: Any) -> None:
        log.append((node.name, "owns", slot))

    monkeypatch.setattr(moving, "_own", own)
    monkeypatch.setattr(moving, "_sign_in", lambda _: ())
    await moving._move_by_key(cluster, old, new, KEYS)

    assert [each for each in log if each[1] != "MIGRATE"][-1][1] == "owns"
    moved = [list(each[each.index("KEYS") + 1 :]) for each in log if each[1] == "MIGRATE"]
    assert moved == [[KEYS.key("meta")], ["a", "b"], ["c"]]
    assert all("REPLACE" in each for each in log if each[1] == "MIGRATE")
    assert log[:3] == [
        ("new", "CLUSTER", "SETSLOT", log[0][3], "NODE", "id-old"),
        ("new", "CLUSTER", "SETSLOT", log[0][3], "IMPORTING", "id-old"),
        ("old", "CLUSTER", "SETSLOT", log[0][3], "MIGRATING", "id-new"),
    ]


async def test_a_partition_that_replicas_lack_is_not_said_to_be_moved() -> None:
    log: list[tuple[Any, ...]] = []
    node: Any = FakeNode("new", log, {"WAIT": [1, 2]})
    with pytest.raises(MoveError, match="only 1 of 2 replicas there have it"):
        await moving._prove(node, KEYS, 2)
    await moving._prove(node, KEYS, 2)
    assert [each[1] for each in log] == ["SET", "WAIT"] * 2, "WAIT counts the writes of its own connection"


async def test_the_owner_of_a_slot_is_the_node_that_says_so_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another node can still name the former owner; ports are often the same on all hosts."""
    former, owner = ["former", 6379, "id-former"], ["owner", 6379, "id-owner"]
    rows = {"target": former, "former": owner, "owner": owner}
    by_address = {}
    for host, primary in rows.items():
        replies = {"MYID": [f"id-{host}"], "SLOTS": [[[0, 16383, primary]]]}
        node: Any = Node((host, 6379), FakeConnection(replies))  # type: ignore[arg-type]
        by_address[host, 6379] = node

    @asynccontextmanager
    async def connected(_: object, addresses: list[HostPort]) -> AsyncIterator[list[Node]]:
        yield [by_address[each] for each in addresses]

    monkeypatch.setattr(moving, "connected", connected)
    cluster: Any = SimpleNamespace(sign_in=None)
    assert await moving._owner_of(cluster, 7, list(by_address)) == ("owner", 6379)


class FakeConnection:
    def __init__(self, replies: dict[str, list[Any]]) -> None:
        self._replies = replies

    async def request(self, commands: list[tuple[str | int, ...]]) -> list[Any]:
        return [self._replies[str(command[1])][0] for command in commands]


@pytest.mark.parametrize("state", ["success", "failed"])
async def test_an_atomic_move_is_judged_by_its_own_record_not_by_an_earlier_one(state: str) -> None:
    earlier = ["name", "first", "state", "success", "message", ""]
    own = ["name", "second", "state", state, "message", "lost the target"]
    running = ["name", "second", "state", "snapshotting", "message", ""]
    replies = {"GETSLOTMIGRATIONS": [[earlier], [earlier, running], [own, earlier]]}
    old: Any = FakeNode("old", [], replies)
    new: Any = FakeNode("new", [], {})
    if state == "success":
        await moving._move_at_once(old, new, 7)
    else:
        with pytest.raises(MoveError, match="slot 7 stays at old, complete: the move failed: lost the target"):
            await moving._move_at_once(old, new, 7)
    assert replies["GETSLOTMIGRATIONS"] == []
