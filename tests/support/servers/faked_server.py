"""A real Valkey server with a settable clock: libfaketime stands between the server and the time.

Only the clock of the server moves. Debian's redis-server hangs under libfaketime, because its allocator reads
the time too early; the embedded Valkey uses the allocator of the C library.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.servers.real_servers import OwnServer, own_server

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
"""The paths of the library in Debian: one folder for each kind of machine."""

SEEN_S_MAX = 5.0


class FakedServer:
    """A server that runs on a clock of its own."""

    def __init__(self, server: OwnServer, stamp: Path) -> None:
        self.url = server.url
        self._server = server
        self._stamp = stamp

    def set(self, at: datetime) -> None:
        """Set the clock, which runs on from there, and wait until the server follows it."""
        write_stamp(self._stamp, at)
        give_up_at = time.monotonic() + SEEN_S_MAX
        while not timedelta(0) <= self.now() - at < timedelta(seconds=SEEN_S_MAX):
            assert time.monotonic() < give_up_at, f"the server stays at {self.now()}"

    def now(self) -> datetime:
        """Return the time of the server."""
        seconds, microseconds = self._server.say("TIME")
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def move(self, by: timedelta) -> None:
        self.set(self.now() + by)


def write_stamp(stamp: Path, at: datetime) -> None:
    """Write the offset from the real clock, so that the clock runs between two reads of the file.

    The file is replaced in one step: it is read at every access to the clock.
    """
    whole = stamp.with_suffix(".new")
    whole.write_text(f"{at.timestamp() - time.time():+.6f}\n")
    whole.replace(stamp)


@dataclass(frozen=True, slots=True)
class FakedClock:
    """A clock that servers with this environment follow."""

    stamp: Path
    environment: Mapping[str, str]


@contextmanager
def faked_clock(at: datetime) -> Iterator[FakedClock]:
    """Make a clock that is at an instant."""
    if not LIBRARIES:
        if os.environ.get("CI"):
            pytest.fail("CI has to have Debian's package faketime")
        pytest.skip("Debian's package faketime is not installed")
    with tempfile.TemporaryDirectory(prefix="faked-") as folder:
        stamp = Path(folder) / "clock"
        write_stamp(stamp, at)
        yield FakedClock(
            stamp,
            {
                "LD_PRELOAD": str(LIBRARIES[0]),
                "FAKETIME_TIMESTAMP_FILE": str(stamp),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            },
        )


@contextmanager
def running_faked_server(at: datetime) -> Iterator[FakedServer]:
    """Run a durable Valkey server at an instant."""
    with faked_clock(at) as clock, own_server("valkey", environment=clock.environment) as server:
        yield FakedServer(server, clock.stamp)
