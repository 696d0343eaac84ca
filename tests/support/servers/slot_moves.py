"""Moves a slot between nodes of a cluster key by key, step by step: a move can stop half-way."""

from collections.abc import Callable
from dataclasses import dataclass

from support.servers.cluster_server import ClusterServer

from technopay.storage.redis_keys import Keys
from technopay.storage.server.slot_map import slot_of

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class SlotMove:
    """A move of the slot of a partition from its primary to another one, both by their numbers."""

    cluster: ClusterServer
    slot: int
    source: int
    target: int

    @classmethod
    def begin(cls, cluster: ClusterServer, keys: Keys) -> "SlotMove":
        """Begin to move a partition to the next primary."""
        source = cluster.owner_of(keys)
        target = next(each for each in cluster.primaries() if each != source)
        move = cls(cluster, slot_of(keys.tag), source, target)
        move._say(target, "IMPORTING", cluster.id_of(source))
        move._say(source, "MIGRATING", cluster.id_of(target))
        return move

    def move_keys(self, matches: Callable[[str], bool] = lambda _: True) -> int:
        """Move keys; return their number."""
        source = self.cluster.nodes[self.source]
        names = [name for name in source.say("CLUSTER", "GETKEYSINSLOT", self.slot, 100_000) if matches(name)]
        if names:
            port = self.cluster.ports[self.target]
            assert source.say("MIGRATE", HOST, port, "", 0, 60_000, "KEYS", *names) in ("OK", True)
        return len(names)

    def end(self) -> None:
        """Give the slot to the target, whose replicas have all of it then."""
        for number in (self.target, self.source, *self.cluster.primaries()):
            self._say(number, "NODE", self.cluster.id_of(self.target))

    def _say(self, number: int, *words: str) -> None:
        self.cluster.nodes[number].say("CLUSTER", "SETSLOT", self.slot, *words)
