"""A real Valkey server whose clock a test sets: libfaketime stands between the server and the time.

Only what the server itself takes for the time moves. Debian's redis-server hangs under it, because its
allocator asks for the time before there is any; the embedded Valkey uses the allocator of the C library.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from support.servers.real_servers import find_server

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
"""Where Debian puts the library: one folder for each kind of machine."""

STARTED_S_MAX = 20.0
SEEN_S_MAX = 5.0


class FakedServer:
    """A server that runs on a clock of its own."""

    def __init__(self, url: str, stamp: Path) -> None:
        self.url = url
        self.is_running = False
        self._stamp = stamp

    def set(self, at: datetime) -> None:
        """Set the clock; it goes on from there.

        What the library reads is the distance from our own clock, so that the clock does not begin anew
        whenever the file is read. The file is replaced in one step: it is read at every look at the clock.
        """
        distance_s = at.timestamp() - time.time()
        whole = self._stamp.with_suffix(".new")
        whole.write_text(f"{distance_s:+.6f}\n")
        whole.replace(self._stamp)
        if self.is_running:
            self._see(at)

    def now(self) -> datetime:
        """Answer what the server takes for the time."""
        with Redis.from_url(self.url) as redis:
            seconds, microseconds = redis.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def _see(self, at: datetime) -> None:
        """Wait until the server goes by the clock that was set."""
        give_up_at = time.monotonic() + SEEN_S_MAX
        while not timedelta(0) <= self.now() - at < timedelta(seconds=SEEN_S_MAX):
            assert time.monotonic() < give_up_at, f"the server stays at {self.now()}"

    def move(self, by: timedelta) -> None:
        """Let the clock jump."""
        self.set(self.now() + by)


@contextmanager
def running_faked_server(at: datetime) -> Iterator[FakedServer]:
    """Run a durable Valkey server at an instant."""
    if not LIBRARIES:
        if os.environ.get("CI"):
            pytest.fail("CI has to have Debian's package faketime")
        pytest.skip("Debian's package faketime is not installed")
    binary = find_server("valkey")
    assert binary is not None
    with tempfile.TemporaryDirectory(prefix="faked-") as folder:
        socket, stamp = Path(folder) / "socket", Path(folder) / "clock"
        server = FakedServer(f"unix://{socket}", stamp)
        server.set(at)
        options = ["--port", "0", "--unixsocket", str(socket), "--dir", folder, "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        environment = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(stamp),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        process = subprocess.Popen(
            [binary, *options], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            give_up_at = time.monotonic() + STARTED_S_MAX
            while not socket.exists():
                assert process.poll() is None, "the server ended at once"
                assert time.monotonic() < give_up_at, "the server does not start"
                time.sleep(0.01)
            server.is_running = True
            yield server
        finally:
            process.terminate()
            process.wait(STARTED_S_MAX)
