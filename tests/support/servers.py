"""Real servers for tests: the embedded Valkey's binary and Debian's redis-server, on unix sockets."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from technopay.storage.embedded import server_binary


def find_server(kind: str) -> str | None:
    """Answer the path of a server's program, or None where it is not installed."""
    return server_binary() if kind == "valkey" else shutil.which("redis-server")


@contextmanager
def running_server(kind: str) -> Iterator[str]:
    """Run a durable server on a directory of its own; answer its URL."""
    binary = find_server(kind)
    assert binary is not None
    with tempfile.TemporaryDirectory(prefix=f"{kind}-") as folder:
        socket = Path(folder) / "socket"
        options = ["--port", "0", "--unixsocket", str(socket), "--dir", folder, "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            give_up_at = time.monotonic() + 20
            while not socket.exists():
                assert process.poll() is None, f"{kind} ended at once"
                assert time.monotonic() < give_up_at, f"{kind} does not start"
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait(20)
