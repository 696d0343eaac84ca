"""`technopay serve` as killable processes, and the store under them; and their random killer."""

import asyncio
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import aiohttp
from support.fixtures.polling import see
from support.processes.preforked import Preforked
from support.processes.service import environment, is_running
from support.servers.real_servers import OwnServer

START_S_MAX = 40.0
PROGRESS_S_MAX = 60.0
ANSWERS_BETWEEN_KILLS = 8
SETTINGS = {
    "TECHNOPAY_CODE_LIFETIME_S": "15",
    "TECHNOPAY_CODES_PER_HOUR": "0",
    "TECHNOPAY_CONFIRMS_PER_MINUTE": "0",
    "TECHNOPAY_FAILURES_PER_DAY": "0",
}
NO_STORE = "technopay: The store "
"""The beginning of the line with which a server without a store ends."""
EXPECTED_ERRORS = (
    NO_STORE,
    "the embedded store is started again: it ended with status -9",
    "the store cannot be reached",
    "the store refuses calls: LOADING",
    "fails and goes on",
)
"""Errors that servers may log when their store is killed."""


class KillableServer:
    """A server that is killed and started again, always at the same address."""

    def __init__(
        self, preforked: Preforked, folder: Path, *arguments: str, settings: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._settings = {**SETTINGS, **(settings or {})}
        self._preforked = preforked
        self._folder = folder
        self._arguments = arguments
        self._port = free_port()
        self._end: asyncio.Task[int] | None = None
        self.output = folder / "output"
        self.url = f"http://127.0.0.1:{self._port}"
        self.is_up = False
        self.pid = 0

    async def start(self) -> None:
        """Start it, and wait until it is ready. Without a store it ends, and is started again."""
        async with asyncio.timeout(START_S_MAX):
            await see(self._begin, within_s=START_S_MAX, pause_s=0.1)
        self.is_up = True

    async def kill(self) -> None:
        """Kill it, at any point."""
        self.is_up = False
        os.kill(self.pid, signal.SIGKILL)
        assert self._end
        assert await self._end == -signal.SIGKILL, self.output.read_text()

    async def stop(self) -> None:
        """Make it drain and end."""
        assert self._end
        if not self._end.done():
            os.kill(self.pid, signal.SIGTERM)
        assert await self._end == 0, self.output.read_text()

    async def end(self) -> None:
        """Make sure that it does not run any more."""
        if self._end and not self._end.done():
            os.kill(self.pid, signal.SIGKILL)
            await self._end

    def children(self) -> list[int]:
        """Its child processes: the embedded store."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def errors(self) -> list[str]:
        """Its unexpected errors in the log."""
        lines = self.output.read_text().splitlines()
        return [
            line
            for line in lines
            if ('"level":"ERROR"' in line or line.startswith(("Traceback", "technopay: ")))
            and "serving on" not in line
            and "draining" not in line
            and not any(expected in line for expected in EXPECTED_ERRORS)
        ]

    async def _begin(self) -> bool:
        """Start it once; return whether it became ready."""
        said_before = self.output.stat().st_size if self.output.exists() else 0
        self.pid = await self._preforked.raise_child(
            folder=str(self._folder), environment=environment(self._folder, self._settings),
            arguments=["serve", "--port", str(self._port), *self._arguments], output=str(self.output),
        )  # fmt: skip
        self._end = asyncio.create_task(self._preforked.wait_for_end())
        async with aiohttp.ClientSession() as session:
            while not self._end.done():
                if await self._is_ready(session):
                    return True
                await asyncio.sleep(0.02)
        said = self.output.read_text()[said_before:]
        assert NO_STORE in said, f"it does not start: {said}"
        return False

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(2)) as response:
                return response.status == 200
        return False


class KillableStore(Protocol):
    """A store that can be killed and recovers its writes."""

    url: str

    async def kill(self) -> None:
        """Kill it, and make sure that it comes back."""
        ...


class EmbeddedStore:
    """The embedded store of a server; the server has to start it again."""

    def __init__(self, server: KillableServer, data_dir: Path) -> None:
        self.url = f"unix://{data_dir / 'valkey.sock'}"
        self._server = server

    async def kill(self) -> None:
        async def look() -> list[int]:
            return self._server.children()

        [pid] = await see(look, within_s=START_S_MAX, pause_s=0.01)
        os.kill(pid, signal.SIGKILL)

        async def is_gone() -> bool:
            return not is_running(pid)

        await see(is_gone, within_s=START_S_MAX, pause_s=0.01)


class KillableRedis:
    """Debian's redis-server on a directory of its own; the test starts it again."""

    def __init__(self, server: OwnServer) -> None:
        self.url = server.url
        self._server = server

    async def kill(self) -> None:
        self._server.end()
        self._server.start(wait=False)


class RandomKiller:
    """Kills servers and the store at random moments, each time after progress of the load."""

    def __init__(
        self,
        chance: random.Random,
        servers: Sequence[KillableServer],
        store: KillableStore,
        count_answers: Callable[[], int],
    ) -> None:
        self._chance = chance
        self._servers = servers
        self._store = store
        self._count_answers = count_answers
        self._starting: set[asyncio.Task[None]] = set()
        self.kills: Counter[str] = Counter()

    async def fire(self, engine_kills: int, store_kills: int) -> None:
        """Kill a number of times; at the end all servers are up again."""
        targets = ["engine"] * engine_kills + ["store"] * store_kills
        self._chance.shuffle(targets)
        for target in targets:
            await self._let_the_load_get_on()
            await asyncio.sleep(self._chance.uniform(0, 0.3))
            server = await see(self._pick_server, within_s=START_S_MAX, pause_s=0.01)
            if target == "engine":
                await server.kill()
                starting = asyncio.create_task(server.start())
                self._starting.add(starting)
            else:
                await self._store.kill()
            self.kills[target] += 1
            await self._see_to_starts()
        await asyncio.gather(*self._starting)

    async def _let_the_load_get_on(self) -> None:
        enough = self._count_answers() + ANSWERS_BETWEEN_KILLS

        async def look() -> bool:
            await self._see_to_starts()
            return self._count_answers() >= enough

        await see(look, within_s=PROGRESS_S_MAX, pause_s=0.01)

    async def _see_to_starts(self) -> None:
        """Raise the error of a server that did not start."""
        done = {starting for starting in self._starting if starting.done()}
        self._starting -= done
        await asyncio.gather(*done)

    async def _pick_server(self) -> KillableServer | None:
        up = [server for server in self._servers if server.is_up]
        return self._chance.choice(up) if up else None


def free_port() -> int:
    """Find a free port below the ephemeral ports, which other connections take as their source."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
