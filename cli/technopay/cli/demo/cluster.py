"""The cluster of `demo --cluster`: three primaries and three replicas on this machine, while the demo runs.

A node that is killed is started again after a while, as a service manager would.
"""

import asyncio
import logging
import secrets
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from technopay.cli.cluster.forming import form_cluster
from technopay.engine.errors import Fault, StoreUnfit
from technopay.storage.private_files import make_private
from technopay.storage.server.child_process import send_signal
from technopay.storage.server.connection import connect
from technopay.storage.server.embedded import make_parent_death_handler, server_binary

logger = logging.getLogger(__name__)

PRIMARIES, NODES = 3, 6
HOST = "127.0.0.1"
BUS = 10_000
"""The port of the bus between nodes is so much above the one of clients."""
PORTS = range(7_000, 30_000)
START_S_MAX = 20.0
RESTART_S = 8.0
OPTIONS = {
    "bind": HOST,
    "cluster-enabled": "yes",
    "cluster-node-timeout": "2000",
    "cluster-require-full-coverage": "no",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "save": "",
    "maxmemory-policy": "noeviction",
    "repl-diskless-sync-delay": "0",
    "loglevel": "warning",
    "logfile": "valkey.log",
}


@dataclass(slots=True)
class DemoNode:
    """One node; its process changes when it is started again."""

    port: int
    folder: Path
    process: Process | None = None

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0


@dataclass(frozen=True, slots=True)
class DemoCluster:
    """The nodes, the primaries first as they began, and the password of all."""

    nodes: Sequence[DemoNode]
    password: str

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{self.password}@{hosts}"


@asynccontextmanager
async def demo_cluster(folder: Path) -> AsyncIterator[DemoCluster]:
    """Run a new cluster on a folder.

    Raises:
        StoreUnfit: a node does not start.
        StoreUnavailable: the nodes do not agree.

    """
    ports = _free_ports()
    cluster = DemoCluster(
        [DemoNode(port, make_private(folder / f"node-{port}")) for port in ports], secrets.token_urlsafe(16)
    )
    watching: list[asyncio.Task[None]] = []
    try:
        for node in cluster.nodes:
            await _start(node, cluster.password)
        sign_in = f"redis://:{cluster.password}@cluster"
        await form_cluster([(HOST, node.port) for node in cluster.nodes], PRIMARIES, sign_in)
        watching = [asyncio.create_task(_restart(node, cluster.password)) for node in cluster.nodes]
        yield cluster
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for node in cluster.nodes:
            if node.process is not None:
                send_signal(node.process, signal.SIGKILL)
                await node.process.wait()


async def _start(node: DemoNode, password: str) -> None:
    options = OPTIONS | {
        "port": str(node.port), "dir": str(node.folder), "requirepass": password, "masterauth": password,
    }  # fmt: skip
    process = node.process = await asyncio.create_subprocess_exec(
        server_binary(),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,  # a Ctrl-C must not stop it before the engine has drained
        preexec_fn=make_parent_death_handler(),
    )
    sign_in: ConnectionPool = ConnectionPool.from_url(f"redis://:{password}@cluster")
    try:
        async with asyncio.timeout(START_S_MAX):
            while not await _replies(sign_in, node.port):
                if process.returncode is not None:
                    raise StoreUnfit(f"a node of the cluster does not start; see {node.folder / 'valkey.log'}")
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise StoreUnfit(f"a node of the cluster is not ready after {START_S_MAX:g} s") from None


async def _replies(sign_in: ConnectionPool, port: int) -> bool:
    try:
        connection = await connect(sign_in, 1.0, at=(HOST, port))
    except (Fault, RedisError, OSError, TimeoutError):
        return False
    connection.abort()
    return True


async def _restart(node: DemoNode, password: str) -> None:
    """Start a node again each time it has ended, after a while in which its replica takes its place."""
    while True:
        assert node.process is not None
        status = await node.process.wait()
        logger.warning(
            "node %s:%d ended with status %d; it is started again in %g s", HOST, node.port, status, RESTART_S
        )
        await asyncio.sleep(RESTART_S)
        try:
            await _start(node, password)
        except StoreUnfit as error:
            logger.warning("%s", error)
        else:
            logger.warning("node %s:%d runs again as process %d", HOST, node.port, node.pid)


def _free_ports() -> list[int]:
    """Return ports that are free, with those of the bus above them; mostly the first ones."""
    found: list[int] = []
    for port in PORTS:
        with suppress(OSError):
            for number in (port, port + BUS):
                with socket.create_server((HOST, number)):
                    pass
            found.append(port)
            if len(found) == NODES:
                return found
    raise StoreUnfit("there are no free ports for the nodes of a cluster")


def guide_to(cluster: DemoCluster) -> str:
    """Return the part of the guide about the nodes."""
    listed = "\n".join(f"  {HOST}:{node.port}   process {node.pid}" for node in cluster.nodes)
    return f"""
The store is a cluster: three primaries, each with a replica, and 256 partitions. A reply waits for a replica.

{listed}

Look at it, kill a node, and look again; pay meanwhile. A replica takes the place of a primary after about 3 s,
and the node is started again after {RESTART_S:g} s. Until then its users wait or get 503; the others go on.

  technopay cluster check --redis '{cluster.url}'
  kill -9 {cluster.nodes[0].pid}
"""
