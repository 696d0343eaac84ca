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
    replicas: Sequence[OwnServer]

    def wait_for_replicas(self, count: int) -> None:
        """Wait until so many replicas keep up."""
        give_up_at = time.monotonic() + START_S_MAX
        while self.primary.say("WAIT", count, 100) < count or not self._are_online(count):
            assert time.monotonic() < give_up_at, self.primary.say("INFO", "replication")
            time.sleep(0.02)

    def _are_online(self, count: int) -> bool:
        info = self.primary.say("INFO", "replication")
        found = [each for name, each in info.items() if name.startswith("slave")]
        return [each["state"] for each in found if isinstance(each, dict)].count("online") >= count


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
        server = ReplicatedServer(primary, following)
        server.wait_for_replicas(replicas)
        yield server
