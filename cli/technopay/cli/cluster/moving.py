"""`technopay cluster move`: moves the slot of a partition to another primary, while the store is in use.

By the server's atomic migration where it has one: scripts run on the old side, then on the new one, always on
whole data. Else key by key: the calls of the partition are refused meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from technopay.cli.cluster.nodes import BEHIND_BYTES_MAX, Node, Offsets, StoreCluster, connected
from technopay.engine.errors import StoreUnavailable
from technopay.storage.redis_keys import Keys
from technopay.storage.server.address import HostPort, parse_address, shown_address
from technopay.storage.server.slot_map import slot_of

MOVE_S_MAX = 3 * 3600.0
"""A journal of 100 million entries takes half of that."""
PAUSE_S = 0.1
KEYS_AT_A_TIME = 100
MIGRATE_MS = 60_000
MIGRATE_S_MAX = 2 * MIGRATE_MS / 1000
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
    members = await cluster.members()
    primaries = [each.addresses for each in members if "master" in each.flags and "fail" not in each.flags]
    if not any(target in addresses for addresses in primaries):
        known = ", ".join(shown_address(*addresses[0]) for addresses in primaries)
        raise MoveError(f"{shown_address(*target)} is not a primary of the cluster; those are {known}")
    keys = Keys(partition=partition)
    slot = slot_of(keys.tag)
    source = await _owner_of(cluster, slot, [addresses[0] for addresses in primaries])
    if source is None:
        raise MoveError(f"partition {partition:02x} has no node")
    async with connected(cluster.sign_in, [source, target], MIGRATE_S_MAX) as [old, new]:
        going_to, target_id = (await old.moves()).get(slot), await new.id()
        is_there = await old.id() == target_id
        if going_to not in (None, target_id):
            raise MoveError(
                f"slot {slot} is on its way from {old.name} to node {going_to}: end that move first"
            )
        wanted = await _require_in_step(new, wait_replicas)
        if is_there:
            await _own(cluster, slot, new)  # a move that was broken off can leave some who do not know
        else:
            say(f"partition {partition:02x} (slot {slot}) moves from {old.name} to {new.name}")
            if going_to is None and await _is_atomic(old):
                await _move_at_once(old, new, slot)
            else:
                say("the slot moves key by key: the calls of the partition are refused meanwhile")
                await _move_by_key(cluster, old, new, keys)
        await _prove(new, keys, wanted)
    return not is_there


async def _owner_of(cluster: StoreCluster, slot: int, primaries: Sequence[HostPort]) -> HostPort | None:
    """Return the primary that says of itself that it has a slot.

    A node that gets a slot key by key does not follow a failover of the node that gives it away.
    """
    for address in primaries:
        with suppress(StoreUnavailable):
            async with connected(cluster.sign_in, [address]) as [node]:
                if await node.owns(slot):
                    return address
    return None


async def _require_in_step(node: Node, wait_replicas: int) -> int:
    """Return how many replicas the target has; raise unless all are in step: the source deletes its copy."""
    info = await node.info()
    offsets, listed = Offsets.of(info), int(info["connected_slaves"])
    wanted = max(listed, wait_replicas, 1)
    if len(offsets.replicas) < wanted:
        raise MoveError(f"{node.name} has {len(offsets.replicas)} of {wanted} replicas in reach")
    for replica in offsets.replicas:
        if (behind := offsets.behind(replica)) > BEHIND_BYTES_MAX:
            raise MoveError(f"the replica {shown_address(*replica)} of {node.name} is {behind:,} bytes behind")
    return wanted


async def _is_atomic(node: Node) -> bool:
    known = await node.run("COMMAND", "INFO", "CLUSTER|MIGRATESLOTS")
    return bool(known and known[0])


async def _move_at_once(old: Node, new: Node, slot: int) -> None:
    before = await _migrations(old)
    await old.run("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", await new.id())
    give_up_at = monotonic() + MOVE_S_MAX
    try:
        while True:
            begun = [fields for name, fields in (await _migrations(old)).items() if name not in before]
            if any(fields["state"] in ENDED for fields in begun):
                break
            if monotonic() > give_up_at:
                raise MoveError(f"slot {slot} did not move within {MOVE_S_MAX:g} s; it was called off")
            await asyncio.sleep(PAUSE_S)
    except (asyncio.CancelledError, MoveError):
        await old.run("CLUSTER", "CANCELSLOTMIGRATIONS")
        raise
    [ended] = begun
    if not ENDED[ended["state"]]:
        raise MoveError(
            f"slot {slot} stays at {old.name}, complete: the move {ended['state']}: {ended.get('message', '')}"
        )


async def _migrations(node: Node) -> dict[str, dict[str, str]]:
    """Return the atomic migrations that a node knows, by their names."""
    listed = [
        dict(zip(each[::2], each[1::2], strict=True)) for each in await node.run("CLUSTER", "GETSLOTMIGRATIONS")
    ]
    return {str(fields["name"]): fields for fields in listed}


async def _move_by_key(cluster: StoreCluster, old: Node, new: Node, keys: Keys) -> None:
    """Move the keys; a move that was broken off goes on.

    The meta record goes first. A replica that takes the place of the source does not know of the move, and runs
    scripts on the keys that are left: without the meta record they do not know their store, and do nothing.
    """
    slot = slot_of(keys.tag)
    # The target does not learn of a failover of the source while it gets the slot.
    for state in ("NODE", "IMPORTING"):
        await new.run("CLUSTER", "SETSLOT", slot, state, await old.id())
    await old.run("CLUSTER", "SETSLOT", slot, "MIGRATING", await new.id())
    host, port = new.address
    names: Sequence[str] = [keys.key("meta")]
    while names:
        # A key can be on both sides after a lost reply; that of the source counts, where nothing runs either.
        options: Sequence[str | int] = (0, MIGRATE_MS, "REPLACE", *_sign_in(cluster), "KEYS")
        await old.run("MIGRATE", host, port, "", *options, *names)
        names = await old.run("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_A_TIME)
    await _own(cluster, slot, new)


async def _own(cluster: StoreCluster, slot: int, new: Node) -> None:
    """Give the slot to the target first; the other primaries would learn it from the target, too."""
    target_id = await new.id()
    await new.run("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    for address in cluster.primaries:
        with suppress(StoreUnavailable):
            async with connected(cluster.sign_in, [address]) as [node]:
                await node.run("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def _sign_in(cluster: StoreCluster) -> Sequence[str]:
    server: Any = cluster.sign_in.make_connection()  # type: ignore[no-untyped-call]
    if server.username:
        return ("AUTH2", server.username, server.password or "")
    return ("AUTH", server.password) if server.password else ()


async def _prove(new: Node, keys: Keys, replicas: int) -> None:
    """Wait until the replicas of the target have the partition: they had all that was written before this."""
    await new.run("SET", keys.key("tick"), "")
    if (acknowledged := await new.run("WAIT", replicas, PROOF_MS)) < replicas:
        raise MoveError(
            f"it is at {new.name}, but only {acknowledged} of {replicas} replicas there have it: "
            "move nothing else before they do, and run this again"
        )
