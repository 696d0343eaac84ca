"""Real servers for tests: the embedded Valkey's binary and Debian's redis-server, on unix sockets."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from technopay.storage.server.embedded import server_binary

START_S_MAX = 20.0


class OwnServer:
    """A durable server on a directory of its own. Its data can be copied, and restored later."""

    def __init__(
        self, binary: str, folder: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.socket = folder / "socket"
        self.url = f"unix://{self.socket}"
        self._command = [
            binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", *options,
        ]  # fmt: skip
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def appended(self) -> Path:
        """The append-only file in use."""
        return max((self.folder / "appendonlydir").glob("*.incr.aof"), key=_number_of)

    def start(self, *, wait: bool = True) -> None:
        """Start on the existing data, and by default wait until all of them are loaded."""
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        give_up_at = time.monotonic() + START_S_MAX
        while wait and not self._is_ready():
            assert self._process.poll() is None, "the server ended at once"
            assert time.monotonic() < give_up_at, "the server does not start"
            time.sleep(0.005)

    def pause(self) -> None:
        """Pause it: it keeps its connections and does not reply."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self, name: signal.Signals = signal.SIGKILL) -> None:
        """End the server, which may have ended by itself."""
        if self._process is not None:
            self._process.send_signal(name)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(START_S_MAX)
            self._process = None

    def wait_until_ended(self) -> int:
        """Wait for a server that ends by itself; return its status."""
        assert self._process is not None
        return self._process.wait(START_S_MAX)

    def keep(self) -> Path:
        """Copy the current data; there must be no writes meanwhile."""
        copy = Path(tempfile.mkdtemp(dir=self.folder, prefix="kept-")) / "appendonlydir"
        shutil.copytree(self.folder / "appendonlydir", copy)
        return copy

    def bring_back(self, kept: Path | None) -> None:
        """Kill the server and start it on earlier data, or on none."""
        self.end()
        shutil.rmtree(self.folder / "appendonlydir")
        if kept is not None:
            shutil.copytree(kept, self.folder / "appendonlydir")
        self.start()

    def say(self, *words: str | int) -> Any:
        """Send one command over a connection of its own."""
        with Redis.from_url(self.url, decode_responses=True, socket_timeout=60) as client:
            return client.execute_command(*words)

    def _is_ready(self) -> bool:
        try:
            return bool(self.say("PING"))
        except (RedisError, OSError):
            return False


def _number_of(file: Path) -> int:
    return int(file.name.split(".")[-3])


def find_server(kind: str) -> str | None:
    """Return the path of a server's program, or None if it is not installed."""
    return server_binary() if kind == "valkey" else shutil.which("redis-server")


@contextmanager
def own_server(
    kind: str, folder: Path | None = None, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[OwnServer]:
    """Run a server of one kind, by default on a folder that is removed afterwards."""
    binary = find_server(kind)
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have redis-server")
        pytest.skip("Debian's redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix=f"{kind}-") as own_folder:
        server = OwnServer(binary, folder or Path(own_folder), *options, environment=environment)
        try:
            server.start()
            yield server
        finally:
            server.end()


@contextmanager
def running_server(kind: str) -> Iterator[str]:
    """Run a durable server that many tests share; return its URL."""
    with own_server(kind) as server:
        yield server.url
