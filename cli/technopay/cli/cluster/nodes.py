"""Nodes of a cluster: commands to them, and what they know of each other."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from technopay.engine.errors import Fault, StoreUnavailable, StoreUnfit
from technopay.storage.redis_keys import Keys
from technopay.storage.server.address import HostPort, StoreAddress, shown_address
from technopay.storage.server.connection import Command, PipelinedConnection, connect
from technopay.storage.server.health import info_of
from technopay.storage.server.reasons import meaning_of
from technopay.storage.server.slot_map import SlotMap, ask_slots, slot_of

REPLY_S_MAX = 10.0
BEHIND_BYTES_MAX = 1_048_576
"""A replica that is further behind is not in step; under load it is always some way behind."""
PARTITIONS_ASKED = 8
"""For the number of partitions: the node of the first one may be down."""
GIVEN_AWAY = re.compile(r"\[(\d+)->-(\w+)\]")
"""In the line of a node about itself: a slot that it gives away, and the id of the node that gets it."""


class Node:
    """One node, by its address."""

    def __init__(self, address: HostPort, connection: PipelinedConnection) -> None:
        self.address = address
        self.name = shown_address(*address)
        self._connection = connection

    async def run(self, *words: str | int) -> Any:
        """Run a command; raise StoreUnavailable, which names the node, for an error reply or none."""
        command: Command = words
        [reply] = await self._connection.request([command])
        if isinstance(reply, Exception):
            raise StoreUnavailable(f"{self.name}: {reply.__cause__ or reply}") from reply
        return reply

    async def info(self) -> Mapping[str, str]:
        return info_of(await self.run("INFO"))

    async def id(self) -> str:
        return str(await self.run("CLUSTER", "MYID"))

    async def owns(self, slot: int) -> bool:
        """Return whether this node says of itself that it has a slot."""
        own_id, listed = await self.id(), await self.run("CLUSTER", "SLOTS")
        return any(first <= slot <= last and primary[2] == own_id for first, last, primary, *_ in listed)

    async def moves(self) -> Mapping[int, str]:
        """Return the slots that this node gives away key by key, with the ids of the nodes that get them."""
        lines = str(await self.run("CLUSTER", "NODES")).splitlines()
        [own] = [line for line in lines if "myself" in line]
        return {int(slot): target for slot, target in GIVEN_AWAY.findall(own)}


@dataclass(frozen=True, slots=True)
class Member:
    """A line of CLUSTER NODES."""

    addresses: Sequence[HostPort]
    """By number and, if it announces one, by name."""
    flags: frozenset[str]

    @classmethod
    def of(cls, line: str) -> "Member":
        _, place, flags, *_ = line.split()
        (host, _, port), names = place.partition("@")[0].rpartition(":"), place.split(",")[1:]
        hosts = [host, *(name for name in names if name and "=" not in name)]
        return cls([(each, int(port)) for each in hosts], frozenset(flags.split(",")))


@dataclass(frozen=True, slots=True)
class Offsets:
    """How far the replicas of a primary have come, in bytes of its replication stream."""

    primary: int
    replicas: Mapping[HostPort, int]

    @classmethod
    def of(cls, info: Mapping[str, str]) -> "Offsets":
        """Read the INFO of a primary; replicas that are not online are left out."""
        listed = [info[name] for name in info if re.fullmatch(r"slave\d+", name)]
        found = [dict(part.split("=", 1) for part in each.split(",")) for each in listed]
        replicas = {
            (each["ip"], int(each["port"])): int(each["offset"]) for each in found if each["state"] == "online"
        }
        return cls(int(info["master_repl_offset"]), replicas)

    def behind(self, replica: HostPort) -> int:
        return max(self.primary - self.replicas[replica], 0)

    @property
    def at_risk(self) -> int | None:
        """The bytes that no replica has; None without a replica."""
        return min((self.behind(each) for each in self.replicas), default=None)


@asynccontextmanager
async def connected(
    sign_in: ConnectionPool, addresses: Sequence[HostPort], reply_s_max: float = REPLY_S_MAX
) -> AsyncIterator[list[Node]]:
    """Connect to nodes.

    Raises:
        StoreUnavailable: one cannot be reached; the message names it.

    """
    async with AsyncExitStack() as stack:
        nodes = []
        for address in addresses:
            try:
                connection = await connect(sign_in, reply_s_max, at=address)
            except (Fault, RedisError, OSError, TimeoutError) as error:
                raise StoreUnavailable(f"{shown_address(*address)}: {meaning_of(error)}") from error
            stack.callback(connection.abort)
            nodes.append(Node(address, connection))
        yield nodes


class StoreCluster:
    """The cluster of a store: its slots and the number of partitions."""

    def __init__(self, address: StoreAddress, slots: SlotMap, sign_in: ConnectionPool, partitions: int) -> None:
        self.address = address
        self.slots = slots
        self.sign_in = sign_in
        self.partitions = partitions

    @classmethod
    async def find(cls, address: StoreAddress) -> "StoreCluster":
        """Ask the nodes for the slots and the number of partitions.

        Raises:
            StoreUnavailable: no node replies.
            StoreUnfit: no store is on the cluster.

        """
        sign_in: ConnectionPool = ConnectionPool.from_url(address.url)
        slots = await ask_slots(sign_in, address.nodes)
        is_empty = False
        for asked in range(PARTITIONS_ASKED):
            found = await _partitions(sign_in, slots, asked)
            if found:
                return cls(address, slots, sign_in, int(found))
            is_empty |= found == ""
        if is_empty:
            raise StoreUnfit("there is no store on the cluster: run `technopay init`")
        raise StoreUnavailable("no primary of the cluster replies")

    async def members(self) -> "Sequence[Member]":
        """Return all members, also those without slots, and those that the others hold for dead."""
        for address in self.slots.nodes:
            with suppress(StoreUnavailable):
                async with connected(self.sign_in, [address]) as [node]:
                    return [Member.of(line) for line in str(await node.run("CLUSTER", "NODES")).splitlines()]
        raise StoreUnavailable("no node of the cluster replies")

    def partitions_at(self, address: HostPort) -> Sequence[int]:
        return [each for each in range(self.partitions) if self.primary_of(each) == address]

    def primary_of(self, partition: int) -> HostPort | None:
        return self.slots.primary_of(slot_of(Keys(partition=partition).tag))

    @property
    def primaries(self) -> Sequence[HostPort]:
        return list(dict.fromkeys(primary for _, primary in self.slots.ranges))


async def _partitions(sign_in: ConnectionPool, slots: SlotMap, asked: int) -> str | None:
    """Return the number of partitions by the meta record of one; empty without it, None if its node is down."""
    keys = Keys(partition=asked)
    primary = slots.primary_of(slot_of(keys.tag))
    if primary is None:
        return None
    try:
        async with connected(sign_in, [primary]) as [node]:
            return await node.run("HGET", keys.key("meta"), "partitions") or ""
    except StoreUnavailable:
        return None
