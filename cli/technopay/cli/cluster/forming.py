"""Makes a cluster of empty nodes: slots for the primaries, and their replicas."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

from redis.asyncio import ConnectionPool

from technopay.cli.cluster.nodes import Node, connected
from technopay.engine.errors import StoreUnavailable
from technopay.storage.server.address import HostPort
from technopay.storage.server.slot_map import SLOTS

STEP_S_MAX = 30.0
PAUSE_S = 0.02


async def form_cluster(addresses: Sequence[HostPort], primaries: int, sign_in: str = "redis://cluster") -> None:
    """Form a cluster; the first nodes become its primaries, the others replicas of these in turn.

    `sign_in` is a URL with user and password of all nodes.

    Raises:
        StoreUnavailable: a node refuses, or they do not agree in time.

    """
    async with connected(ConnectionPool.from_url(sign_in), addresses) as nodes:
        ids = [await node.id() for node in nodes]
        first, *others = nodes
        for number, node in enumerate(nodes):
            await node.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bounds = [SLOTS * number // primaries for number in range(primaries + 1)]
        for node, begin, end in zip(nodes, bounds, bounds[1:], strict=False):
            await node.run("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        for node in others:
            await first.run("CLUSTER", "MEET", *node.address)
        for node in nodes:
            await _until(partial(_knows, node, len(nodes)))
        for number, node in enumerate(nodes[primaries:]):
            await _until(partial(_follows, node, ids[number % primaries]))
        for node in nodes:
            await _until(partial(_is_ready, node, len(nodes) - primaries))


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    give_up_at = monotonic() + STEP_S_MAX
    while not await is_so():
        if monotonic() > give_up_at:
            raise StoreUnavailable(f"the nodes of the cluster do not agree within {STEP_S_MAX:g} s")
        await asyncio.sleep(PAUSE_S)


async def _knows(node: Node, count: int) -> bool:
    lines = (await node.run("CLUSTER", "NODES")).splitlines()
    return len(lines) == count and not any("handshake" in line for line in lines)


async def _follows(node: Node, primary_id: str) -> bool:
    try:
        await node.run("CLUSTER", "REPLICATE", primary_id)
    except StoreUnavailable:
        return False  # it does not know the primary yet
    return True


async def _is_ready(node: Node, replicas: int) -> bool:
    """Whether a node serves all slots and knows the replicas of all, which are in step."""
    if "cluster_state:ok" not in await node.run("CLUSTER", "INFO"):
        return False
    nodes = {tuple(each[:2]) for _, _, *listed in await node.run("CLUSTER", "SLOTS") for each in listed[1:]}
    return len(nodes) == replicas and (await node.info()).get("master_link_status", "up") == "up"
