"""A real server with replicas, each on a directory of its own and reachable over TCP."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from support.processes.killable_server import free_port
from support.servers.real_servers import START_S_MAX, OwnServer, own_server


@dataclass(frozen=True, slots=True)
class ReplicatedServer:
    primary: OwnServer
    port: int
    """The one of the primary."""
    replicas: Sequence[OwnServer]

    def wait_for_replicas(self, count: int) -> None:
        """Wait until so many replicas have acknowledged all that was written before."""
        give_up_at = time.monotonic() + START_S_MAX
        written = self.primary.say("INFO", "replication")["master_repl_offset"]
        while len(self._acknowledged(written)) < count:
            assert time.monotonic() < give_up_at, self.primary.say("INFO", "replication")
            time.sleep(0.02)

    def _acknowledged(self, offset: int) -> list[str]:
        info = self.primary.say("INFO", "replication")
        replicas = {name: each for name, each in info.items() if isinstance(each, dict)}
        return [
            name
            for name, each in replicas.items()
            if each.get("state") == "online" and int(each["offset"]) >= offset
        ]


@contextmanager
def replicated_server(kind: str, *replica_options: str, replicas: int = 1) -> Iterator[ReplicatedServer]:
    """Run a durable primary with durable replicas; the options of the replicas come last."""
    with ExitStack() as stack:
        port = free_port()
        delay = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        primary = stack.enter_context(own_server(kind, None, "--port", str(port), *delay))
        following = [
            stack.enter_context(
                own_server(
                    kind, None, "--port", str(free_port()), "--replicaof", f"127.0.0.1 {port}", *replica_options
                )
            )
            for _ in range(replicas)
        ]
        server = ReplicatedServer(primary, port, following)
        server.wait_for_replicas(replicas)
        yield server
