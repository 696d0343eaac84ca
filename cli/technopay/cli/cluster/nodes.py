"""Nodes of a cluster: commands to them, and what they know of each other."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import ConnectionPool

from technopay.engine.errors import StoreUnavailable
from technopay.storage.server.address import HostPort, shown_address
from technopay.storage.server.connection import Command, PipelinedConnection, connect
from technopay.storage.server.health import info_of

CONNECT_S_MAX = 5.0


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

    async def info(self, section: str) -> Mapping[str, str]:
        return info_of(await self.run("INFO", section))


@asynccontextmanager
async def connected(sign_in: ConnectionPool, addresses: Sequence[HostPort]) -> AsyncIterator[list[Node]]:
    """Connect to nodes; raise StoreUnavailable, OSError or RedisError if one cannot be reached."""
    async with AsyncExitStack() as stack:
        nodes = []
        for address in addresses:
            connection = await connect(sign_in, CONNECT_S_MAX, at=address)
            stack.callback(connection.abort)
            nodes.append(Node(address, connection))
        yield nodes
