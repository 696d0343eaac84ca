"""Real servers for tests: the embedded Valkey's binary and Debian's redis-server, on unix sockets."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from technopay.storage.server.embedded import server_binary


def find_server(kind: str) -> str | None:
    """Answer the path of a server's program, or None where it is not installed."""
    return server_binary() if kind == "valkey" else shutil.which("redis-server")


@contextmanager
def running_server(kind: str) -> Iterator[str]:
    """Run a durable server on a directory of its own; answer its URL."""
    binary = find_server(kind)
    assert binary is not None
    with tempfile.TemporaryDirectory(prefix=f"{kind}-") as folder:
        path = Path(folder) / "socket"
        options = ["--port", "0", "--unixsocket", str(path), "--dir", folder, "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            give_up_at = time.monotonic() + 20
            while not _listens(path):
                assert process.poll() is None, f"{kind} ended at once"
                assert time.monotonic() < give_up_at, f"{kind} does not start"
                time.sleep(0.01)
            yield f"unix://{path}"
        finally:
            process.terminate()
            process.wait(20)


def _listens(path: Path) -> bool:
    """Find out whether somebody listens: the file of a socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
