"""A Sentinel that watches a replicated server."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.processes.killable_server import free_port
from support.servers.real_servers import OwnServer, find_server
from support.servers.replicated_server import ReplicatedServer

NAME = "main"
CONFIGURATION = """\
sentinel monitor {name} 127.0.0.1 {port} 1
sentinel down-after-milliseconds {name} 300
sentinel failover-timeout {name} 3000
"""


class Sentinel(OwnServer):
    """A Sentinel alone: its own word is enough for a failover."""

    def __init__(self, binary: str, folder: Path, watched: int) -> None:
        super().__init__(binary, folder)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        file = folder / "sentinel.conf"
        file.write_text(CONFIGURATION.format(name=NAME, port=watched))
        self._command = [binary, str(file), "--sentinel", "--port", str(self.port), "--dir", str(folder)]

    @property
    def store_url(self) -> str:
        """The URL of the store that it watches, behind another Sentinel that is not there."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.port}/{NAME}"

    def primary_port(self) -> int:
        return int(self.say("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])


@contextmanager
def sentinel_of(kind: str, server: ReplicatedServer) -> Iterator[Sentinel]:
    """Run a Sentinel of the same kind of server."""
    binary = find_server(kind)
    assert binary is not None, "the replicated server runs"
    with tempfile.TemporaryDirectory(prefix="sentinel-") as folder:
        sentinel = Sentinel(binary, Path(folder), server.port)
        sentinel.start()
        try:
            yield sentinel
        finally:
            sentinel.end()
