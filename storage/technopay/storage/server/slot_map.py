"""Asks nodes of a cluster which of them has which slots."""

from binascii import crc_hqx
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from technopay.engine.errors import Fault, StoreUnavailable
from technopay.storage.server.address import HostPort, shown_address
from technopay.storage.server.connection import connect
from technopay.storage.server.reasons import meaning_of

SLOTS = 16_384
TIMEOUT_S = 0.5
"""For each node: one that hangs must not keep the others from being asked."""
NODES_ASKED_MAX = 16
IN_TOUCH = "cluster_state:ok"
"""A node that the others do not reach, or in a minority, knows old slots."""
UNKNOWN_HOST = "?"
"""Stands for the host name of a node that has none; its address is in the metadata."""


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The primaries of a cluster, by slots."""

    firsts: Sequence[int]
    """The first slots of the ranges, ascending."""
    ranges: Sequence[tuple[int, HostPort]]
    """The last slot of each range, and its primary."""
    nodes: Sequence[HostPort]
    """All nodes, primaries first."""

    def primary_of(self, slot: int) -> HostPort | None:
        """Return the address of a slot's primary; None if no node has the slot."""
        place = bisect_right(self.firsts, slot) - 1
        if place < 0:
            return None
        last, primary = self.ranges[place]
        return primary if slot <= last else None


NO_SLOTS = SlotMap((), (), ())


def slot_of(tag: str) -> int:
    """Return the slot of a hash tag, the part of a key in braces."""
    return crc_hqx(tag.encode(), 0) % SLOTS


async def ask_slots(sign_in: ConnectionPool, nodes: Iterable[HostPort]) -> SlotMap:
    """Return the slots as the first node in reach knows them that is in touch with the others.

    Without such a node, return those of the first one in reach.

    Raises:
        StoreUnavailable: no node replies; the message has the reason of each.

    """
    reasons, outdated = [], None
    for node in list(dict.fromkeys(nodes))[:NODES_ASKED_MAX]:
        try:
            slots, state = await _ask(sign_in, node)
            found = parse_slots(slots, node)
        except (Fault, RedisError, OSError, TimeoutError) as error:
            reasons.append(f"{shown_address(*node)}: {meaning_of(error)}")
            continue
        if IN_TOUCH in str(state):
            return found
        outdated = outdated or found
    if outdated is not None:
        return outdated
    raise StoreUnavailable(f"no node of the cluster replies ({'; '.join(reasons)})")


def parse_slots(reply: Any, asked: HostPort) -> SlotMap:
    """Read the reply of CLUSTER SLOTS. A node without a host is at the host that was asked.

    Raises:
        StoreUnavailable: it cannot be read, or is empty.

    """
    try:
        found = sorted(
            (int(first), int(last), [_place(node, asked) for node in (primary, *replicas)])
            for first, last, primary, *replicas in reply
        )
    except (TypeError, ValueError, IndexError) as error:
        raise StoreUnavailable(f"its slots cannot be read: {error!r}") from error
    if not found:
        raise StoreUnavailable("it has no slots: the cluster is not formed")
    primaries = [nodes[0] for _, _, nodes in found]
    others = [node for _, _, nodes in found for node in nodes[1:]]
    return SlotMap(
        firsts=[first for first, _, _ in found],
        ranges=[(last, nodes[0]) for _, last, nodes in found],
        nodes=list(dict.fromkeys(primaries + others)),
    )


def _place(node: Sequence[Any], asked: HostPort) -> HostPort:
    host, port, _, *metadata = node
    if host == UNKNOWN_HOST and metadata:
        host = dict(zip(metadata[0][::2], metadata[0][1::2], strict=True)).get("ip")
    return host or asked[0], int(port)


async def _ask(sign_in: ConnectionPool, node: HostPort) -> Sequence[Any]:
    connection = await connect(sign_in, TIMEOUT_S, at=node)
    try:
        replies = await connection.request([("CLUSTER", "SLOTS"), ("CLUSTER", "INFO")])
    finally:
        connection.abort()
    for reply in replies:
        if isinstance(reply, Exception):
            raise StoreUnavailable(str(reply)) from reply
    return replies
