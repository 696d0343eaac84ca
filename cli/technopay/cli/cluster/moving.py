"""`technopay cluster move`: moves the slot of a partition to another primary, while the store is in use.

By the server's atomic migration where it has one: scripts run on the old side, then on the new one, always on
whole data. Else key by key: the calls of the partition are refused meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from technopay.cli.cluster.checking import BEHIND_BYTES_MAX
from technopay.cli.cluster.nodes import Node, Offsets, StoreCluster, connected
from technopay.storage.redis_keys import Keys
from technopay.storage.server.address import HostPort, parse_address, shown_address
from technopay.storage.server.slot_map import slot_of

MOVE_S_MAX = 3 * 3600.0
"""A journal of 100 million entries takes half of that."""
PAUSE_S = 0.1
KEYS_AT_A_TIME = 100
MIGRATE_MS = 60_000
PROOF_MS = 10_000
ENDED = {"success": True, "failed": False, "cancelled": False, "canceled": False}


class MoveError(Exception):
    """Raised when a partition was not moved, or replicas may lack it; the message says which."""


async def move_partition(
    url: str, partition: int, target: HostPort, wait_replicas: int, say: Callable[[str], None]
) -> bool:
    """Move a partition; return False if it is there already.

    Raises:
        MoveError: it was not moved.
        StoreUnavailable, StoreUnfit: the cluster cannot be asked, or has no store.

    """
    cluster = await StoreCluster.find(parse_address(url))
    if partition >= cluster.partitions:
        raise MoveError(f"the store has partitions 00 to {cluster.partitions - 1:02x}")
    primaries = [each.addresses for each in await cluster.members() if "master" in each.flags - {"fail"}]
    if not any(target in addresses for addresses in primaries):
        known = ", ".join(shown_address(*addresses[0]) for addresses in primaries)
        raise MoveError(f"{shown_address(*target)} is not a primary of the cluster; those are {known}")
    source = cluster.primary_of(partition)
    if source is None:
        raise MoveError(f"partition {partition:02x} has no node")
    keys = Keys(partition=partition)
    slot = slot_of(keys.tag)
    async with connected(cluster.sign_in, [source, target]) as [old, new]:
        if source == target:
            await _own(cluster, slot, new)  # a move that was broken off can leave some who do not know
            return False
        await _require_in_step(new, wait_replicas)
        say(f"partition {partition:02x} (slot {slot}) moves from {old.name} to {new.name}")
        if await _is_atomic(old):
            await _move_at_once(old, new, slot)
        else:
            say("this server moves a slot key by key: the calls of the partition are refused meanwhile")
            await _move_by_key(cluster, old, new, slot)
        await _prove(new, keys, wait_replicas)
    return True


async def _require_in_step(node: Node, wait_replicas: int) -> None:
    """Raise unless every replica of the target is in step: the source deletes its copy at the end."""
    info = await node.info()
    offsets, listed = Offsets.of(info), int(info["connected_slaves"])
    wanted = max(listed, wait_replicas, 1)
    if len(offsets.replicas) < wanted:
        raise MoveError(f"{node.name} has {len(offsets.replicas)} of {wanted} replicas in reach")
    for replica in offsets.replicas:
        if (behind := offsets.behind(replica)) > BEHIND_BYTES_MAX:
            raise MoveError(f"the replica {shown_address(*replica)} of {node.name} is {behind:,} bytes behind")


async def _is_atomic(node: Node) -> bool:
    known = await node.run("COMMAND", "INFO", "CLUSTER|MIGRATESLOTS")
    return bool(known and known[0])


async def _move_at_once(old: Node, new: Node, slot: int) -> None:
    await old.run("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", await new.id())
    give_up_at = monotonic() + MOVE_S_MAX
    try:
        while True:
            state, message = await _state_of(old, slot)
            if state in ENDED:
                break
            if monotonic() > give_up_at:
                raise MoveError(f"slot {slot} did not move within {MOVE_S_MAX:g} s; it was called off")
            await asyncio.sleep(PAUSE_S)
    except (asyncio.CancelledError, MoveError):
        await old.run("CLUSTER", "CANCELSLOTMIGRATIONS")
        raise
    if not ENDED[state]:
        raise MoveError(f"slot {slot} stays at {old.name}, complete: the move {state}: {message}")


async def _state_of(node: Node, slot: int) -> tuple[str, str]:
    """Return the state of the newest migration of a slot, and its message."""
    for each in await node.run("CLUSTER", "GETSLOTMIGRATIONS"):
        fields = dict(zip(each[::2], each[1::2], strict=True))
        if str(fields.get("slot_ranges")) == f"{slot}-{slot}":
            return str(fields["state"]), str(fields.get("message", ""))
    return "success", ""


async def _move_by_key(cluster: StoreCluster, old: Node, new: Node, slot: int) -> None:
    """Move the keys; a move that was broken off goes on."""
    await new.run("CLUSTER", "SETSLOT", slot, "IMPORTING", await old.id())
    await old.run("CLUSTER", "SETSLOT", slot, "MIGRATING", await new.id())
    host, port = new.address
    sign_in = _sign_in(cluster)
    while names := await old.run("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_A_TIME):
        await old.run("MIGRATE", host, port, "", 0, MIGRATE_MS, *sign_in, "KEYS", *names)
    await _own(cluster, slot, new)


async def _own(cluster: StoreCluster, slot: int, new: Node) -> None:
    """Give the slot to the target first, then let the other primaries know."""
    others = [each for each in cluster.primaries if each != new.address]
    async with connected(cluster.sign_in, others) as nodes:
        for node in (new, *nodes):
            await node.run("CLUSTER", "SETSLOT", slot, "NODE", await new.id())


def _sign_in(cluster: StoreCluster) -> Sequence[str]:
    server: Any = cluster.sign_in.make_connection()  # type: ignore[no-untyped-call]
    if server.username:
        return ("AUTH2", server.username, server.password or "")
    return ("AUTH", server.password) if server.password else ()


async def _prove(new: Node, keys: Keys, wait_replicas: int) -> None:
    """Wait until the replicas of the target have the partition: they had all that was written before this."""
    replicas = max(int((await new.info())["connected_slaves"]), wait_replicas)
    await new.run("SET", keys.key("tick"), "")
    if (acknowledged := await new.run("WAIT", replicas, PROOF_MS)) < replicas:
        raise MoveError(
            f"it has moved, but only {acknowledged} of {replicas} replicas of {new.name} have it yet: "
            "move nothing else before they do"
        )
