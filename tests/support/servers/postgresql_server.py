"""A real PostgreSQL server for tests, on a unix socket in a directory of its own.

PostgreSQL refuses to run as root: then it runs as nobody.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

START_S_MAX = 30.0
OWNER = "technopay"
"""The role that owns the databases of tests; it needs no password, every other role does."""
ACCESS = f"local all {OWNER} trust\nlocal all all scram-sha-256\n"
OPTIONS = (
    "listen_addresses=", "unix_socket_permissions=0777", "max_connections=60", "shared_buffers=16MB",
    "wal_level=minimal", "max_wal_senders=0", "log_min_messages=warning", "logging_collector=off",
)  # fmt: skip
DEBIAN = Path("/usr/lib/postgresql")
"""Debian keeps the programs of a server outside PATH, in a folder for each version."""


def find_program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL, of the latest version if there are several."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(found[-1]) if found else None)


class PostgresServer:
    """A durable server. `kill` ends it as a crash does; it can be started again on its data."""

    def __init__(self, programs: tuple[str, str], folder: Path, *options: str) -> None:
        self.folder = folder
        self._initdb, self._postgres = programs
        self._options = options
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count(1)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", role: str = OWNER, password: str | None = None) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://{role}{secret}@/{database}?host={self.folder}"

    def start_again(self) -> None:
        """Kill it and start it on what was on its disk."""
        self.kill()
        self.start()

    def create(self) -> None:
        """Create the data directory."""
        words = [self._initdb, "--pgdata", str(self._data), "--username", OWNER, "--auth", "trust"]
        words += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        made = subprocess.run(words, **_as_its_user(), capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        (self._data / "pg_hba.conf").write_text(ACCESS)

    def start(self) -> None:
        """Start on the existing data, and wait until it takes connections."""
        options = [*OPTIONS, f"unix_socket_directories={self.folder}", *self._options]
        words = [self._postgres, "-D", str(self._data), *(word for each in options for word in ("-c", each))]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words,
                **_as_its_user(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + START_S_MAX
        while not self._is_ready():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < give_up_at, "the server does not start"
            time.sleep(0.01)

    def kill(self) -> None:
        """End the server and its processes at once; it may have ended already."""
        if self._process is None:
            return
        # The first one is asked for the others while it can start none.
        self._signal(signal.SIGSTOP)
        children = self._children()
        self._signal(signal.SIGKILL)
        for each in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._wait()
        # Its memory is in use until the last one has gone.
        give_up_at = time.monotonic() + START_S_MAX
        while any(Path(f"/proc/{each}/exe").exists() for each in children):
            assert time.monotonic() < give_up_at, "processes of the server do not end"
            time.sleep(0.005)

    def pause(self) -> None:
        """Pause all its processes: it keeps its connections and does not reply."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    async def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement as the owner, on a connection of its own."""
        import asyncpg

        connection = await asyncpg.connect(self.url(database))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def new_database(self) -> str:
        """Create an empty database; return its name."""
        name = f"archive{os.getpid()}x{next(self._databases)}"
        await self.run(f"CREATE DATABASE {name}")
        return name

    async def new_schema(self) -> str:
        """Create an empty schema; return its URL.

        A server with fewer databases has fewer files, and starts sooner after it was killed.
        """
        name = f"archive{os.getpid()}x{next(self._databases)}"
        await self.run(f"CREATE SCHEMA {name}")
        return f"{self.url()}&search_path={name}"

    def _is_ready(self) -> bool:
        try:
            first, *_, last = (self._data / "postmaster.pid").read_text().splitlines()
        except (OSError, ValueError):
            return False
        # The file can be left from a server that was killed.
        return first == str(self.pid) and last.strip() == "ready"

    def _children(self) -> list[int]:
        return [int(each) for each in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def _signal(self, name: signal.Signals) -> None:
        os.kill(self.pid, name)

    def _signal_all(self, name: signal.Signals) -> None:
        for each in (self.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, name)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(START_S_MAX)
        self._process = None


def _as_its_user() -> dict[str, Any]:
    """Return how a process of the server is started: not as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}


def find_programs() -> tuple[str, str]:
    """Return the paths of initdb and postgres. Without them, tests are skipped, and fail in CI."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    if initdb is None or postgres is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have postgresql")
        pytest.skip("Debian's postgresql is not installed")
    return initdb, postgres


@contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    """Run a server on a folder that is removed afterwards; options are settings like `fsync=off`."""
    programs = find_programs()
    # Not below the directory of pytest, which only our user can enter.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        server = PostgresServer(programs, folder, *options)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.kill()
