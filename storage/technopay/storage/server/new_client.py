"""Makes the client of a store: of a server, or of a cluster with a client for each node."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from technopay.storage.scripts.loader import Library, Script
from technopay.storage.server.address import HostPort, parse_address
from technopay.storage.server.client import ServerClient
from technopay.storage.server.cluster import ClusterClient
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.health import Durability, HealthCheck
from technopay.storage.server.replication import ReplicaWait


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What all clients of a store have in common."""

    library: Library
    durability: Durability
    reply_timeout_s: float
    wait_replicas: int
    wait_ms: int
    write_tick: Script
    first_journal: str


def new_client(url: str, data: DataCheck, options: ClientOptions) -> ServerClient | ClusterClient:
    """Return the client of a store, not connected yet."""

    def of_server(
        at: HostPort | None = None,
        partitions: Callable[[], Sequence[int]] | None = None,
        keys: Callable[[], Sequence[str]] = lambda: (options.first_journal,),
    ) -> ServerClient:
        wait = ReplicaWait(options.wait_replicas, options.wait_ms, options.write_tick, keys)
        return ServerClient(
            url,
            library=options.library,
            reply_timeout_s=options.reply_timeout_s,
            health=HealthCheck(
                data, durability=options.durability, replicas=options.wait_replicas, partitions=partitions
            ),
            replica_wait=wait if options.wait_replicas else None,
            at=at,
        )

    return ClusterClient(url, data=data, new_client=of_server) if parse_address(url).nodes else of_server()
