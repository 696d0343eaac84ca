"""Real clusters: durable nodes of one kind on loopback."""

import asyncio
import random
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from support.servers.real_servers import OwnServer, own_server

from technopay.cli.cluster.forming import form_cluster
from technopay.storage.redis_keys import Keys
from technopay.storage.server.slot_map import slot_of

PORTS = range(11_000, 21_000)
"""Below the ports of outgoing connections, with the bus 10,000 above it."""
BUS = 10_000
PRIMARIES = 3
SETTINGS = (
    "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no",
    "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
    "--cluster-replica-validity-factor", "0",
)  # fmt: skip
"""A replica that was started again, too, may take the place of its primary."""
WAIT_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class ClusterServer:
    """The nodes, primaries first as the cluster was formed, and their ports."""

    nodes: Sequence[OwnServer]
    ports: Sequence[int]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def is_atomic(self) -> bool:
        """Whether its servers can move a slot at once."""
        return "valkey" in Path(f"/proc/{self.nodes[0].pid}/exe").readlink().name

    def owner_of(self, keys: Keys) -> int:
        """Return the number of the node that has a partition now."""
        slot = slot_of(keys.tag)
        for first, last, primary, *_ in self._slots():
            if first <= slot <= last:
                return self.ports.index(primary[1])
        raise AssertionError(f"no node has slot {slot}")

    def primaries(self) -> list[int]:
        """Return the numbers of the primaries that have slots now."""
        return sorted({self.ports.index(primary[1]) for _, _, primary, *_ in self._slots()})

    def replica_of(self, number: int) -> int:
        """Return the number of the replica of a primary."""
        for _, _, primary, replica, *_ in self._slots():
            if primary[1] == self.ports[number]:
                return self.ports.index(replica[1])
        raise AssertionError(f"node {number} has no replica")

    def _slots(self) -> list[Any]:
        """Return the slots as the first running node knows them: first, last, and the nodes."""
        running = next(node for node in self.nodes if node.is_running)
        with Redis.from_url(running.url, decode_responses=True) as client:
            client.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)
            found: list[Any] = client.execute_command("CLUSTER SLOTS")
        return found

    def id_of(self, number: int) -> Any:
        return self.nodes[number].say("CLUSTER", "MYID")

    def wait_until_whole(self) -> None:
        """Wait until all slots are served, and each replica is in step."""
        give_up_at = time.monotonic() + WAIT_S_MAX
        while not all(map(is_whole, self.nodes)):
            assert time.monotonic() < give_up_at, [node.say("CLUSTER", "INFO") for node in self.nodes]
            time.sleep(0.05)


def is_whole(node: OwnServer) -> bool:
    if not node.is_running:
        return False
    is_in_step: bool = node.say("INFO", "replication").get("master_link_status", "up") == "up"
    return is_in_step and "cluster_state:ok" in str(node.say("CLUSTER", "INFO"))


def node_port(taken: Sequence[int]) -> int:
    """Return a port that is free, with the one of the cluster's bus above it."""
    while True:
        port = random.choice(PORTS)
        if port in taken:
            continue
        try:
            for number in (port, port + BUS):
                with socket.create_server(("127.0.0.1", number)):
                    pass
        except OSError:
            continue
        return port


@contextmanager
def cluster_server(
    kind: str, *options: str, replicas: int = 1, first: Mapping[str, str] | None = None
) -> Iterator[ClusterServer]:
    """Run a cluster of three primaries with so many replicas each; `first` is the first node's environment."""
    with ExitStack() as stack:
        nodes: list[OwnServer] = []
        ports: list[int] = []
        for _ in range(PRIMARIES * (1 + replicas)):
            ports.append(node_port(ports))
            words = ("--port", str(ports[-1]), "--bind", "127.0.0.1", *SETTINGS, *options)
            nodes.append(
                stack.enter_context(own_server(kind, None, *words, environment=None if nodes else first))
            )
        # A fixture can be set up while a loop runs in this thread.
        with ThreadPoolExecutor(1) as thread:
            forming = form_cluster([("127.0.0.1", port) for port in ports], PRIMARIES)
            thread.submit(asyncio.run, forming).result()
        yield ClusterServer(nodes, ports)
