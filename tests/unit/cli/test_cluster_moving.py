"""The order of a move key by key: it can be broken off behind each command."""

from typing import Any

import pytest

from technopay.cli.cluster import moving
from technopay.cli.cluster.moving import MoveError
from technopay.storage.redis_keys import Keys

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
