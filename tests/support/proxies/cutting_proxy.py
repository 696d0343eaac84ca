"""A proxy that cuts at random: before, after, in the middle; and that holds, is late and says things twice."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto

import hiredis
from support.proxies.faulty_proxy import Proxy, _reset


class Mishap(Enum):
    """What goes wrong with a chunk of bytes."""

    DROP_BEFORE = auto()
    """The connection is closed, and the server never sees the requests."""
    DROP_AFTER = auto()
    """The server answers, its replies go nowhere, and the connection is closed."""
    RESET_REQUESTS = auto()
    """Some of the bytes reach the server, then both sides are reset."""
    RESET_REPLIES = auto()
    """Some of the bytes of the replies reach the client, then both sides are reset."""
    HOLD_REQUESTS = auto()
    """The requests come a little later, in order."""
    HOLD_REPLIES = auto()
    """The replies come a little later, in order."""
    SILENCE = auto()
    """The replies are held for longer than the client waits."""
    LATE = auto()
    """The connection is closed; the requests reach the server when the client has asked again."""
    TWICE = auto()
    """The requests reach the server over a second connection, too; what it answers there goes nowhere."""


MISHAPS_OF_REQUESTS: Mapping[Mishap, float] = {
    Mishap.DROP_BEFORE: 0.4,
    Mishap.DROP_AFTER: 0.4,
    Mishap.RESET_REQUESTS: 0.5,
    Mishap.HOLD_REQUESTS: 0.8,
    Mishap.LATE: 0.6,
    Mishap.TWICE: 2.5,
}
MISHAPS_OF_REPLIES: Mapping[Mishap, float] = {
    Mishap.RESET_REPLIES: 0.45,
    Mishap.HOLD_REPLIES: 0.7,
    Mishap.SILENCE: 0.1,
}
"""How many there are in a thousand commands. A chunk counts for its commands and some more, so that
connections are cut while they are set up, too."""

CHUNK = 1 << 20
CHUNK_COUNTS = 5
HOLD_S_MAX = 0.006
LATE_S_MAX, ASKED_AGAIN_S_MAX = 0.1, 2.0
ANSWER_S_MAX = 0.05
HANG_UP_S_MAX = 10.0


@dataclass(eq=False)
class Line:
    """A connection of a client, and the one to the server behind it."""

    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    framing: hiredis.Reader = field(default_factory=hiredis.Reader)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: int = 0
    is_deaf: bool = False
    is_held: bool = False

    def count_commands(self, chunk: bytes) -> tuple[int, bool]:
        """Answer how many commands end in a chunk, and whether it begins and ends between two of them."""
        began_between = not self.framing.has_data()
        self.framing.feed(chunk)
        count = 0
        while self.framing.gets() is not False:
            count += 1
        return count, began_between and not self.framing.has_data()


@dataclass(eq=False)
class Held:
    """Requests that will be late: the operations that they carry, and whether one of them was asked again."""

    operations: set[bytes]
    overtaken: asyncio.Event = field(default_factory=asyncio.Event)


class CuttingProxy(Proxy):
    """While it is rough, something goes wrong with some of the chunks.

    `operation` is what the ids of operations look like, so that it sees when one is asked again.
    """

    def __init__(self, server_path: str, *, seed: int, silence_s: float, operation: re.Pattern[bytes]) -> None:
        super().__init__(server_path)
        self.is_rough = False
        self.reachable = asyncio.Event()
        self.mishaps: Counter[Mishap] = Counter()
        self.commands = 0
        self.overtaken = 0
        self._chance = random.Random(seed)
        self._silence_s = silence_s
        self._operation = operation
        self._held: set[Held] = set()
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        await super().start()
        self.reachable.set()

    async def finish(self) -> None:
        """Stop, and wait until everything that was held or is said twice has reached the server."""
        self.is_rough = False
        await self.stop()
        await asyncio.gather(*self._errands)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Cut everything and refuse connections. The last requests reach the server when it is over."""
        assert self._listener
        self.reachable.clear()
        self._listener.close()
        if self._pumps:
            await asyncio.wait(set(self._pumps), timeout=0.5)
        await self.stop()
        try:
            yield
        finally:
            await self.start()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer, *await asyncio.open_unix_connection(self._server_path))
        pumps = [asyncio.create_task(pump(line)) for pump in (self._pass_requests, self._pass_replies)]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            results = await asyncio.gather(*pumps, return_exceptions=True)
            if not line.is_held:
                line.to_server.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _pass_requests(self, line: Line) -> None:
        while chunk := await line.client.read(CHUNK):
            commands, is_whole = line.count_commands(chunk)
            self.commands += commands
            line.unanswered += commands
            mishap = self._next_mishap(MISHAPS_OF_REQUESTS, commands)
            if not self.reachable.is_set():
                mishap = Mishap.LATE
            if mishap is Mishap.TWICE and not is_whole:
                mishap = None
            if mishap is not Mishap.LATE:
                self._look_for_held(chunk)
            if mishap:
                self.mishaps[mishap] += 1
            if mishap is Mishap.HOLD_REQUESTS:
                await asyncio.sleep(self._chance.uniform(0, HOLD_S_MAX))
            elif mishap is Mishap.TWICE:
                self._send_off(self._say_again(chunk))
            elif mishap:
                return await self._cut(mishap, line, chunk)
            line.to_server.write(chunk)
            await line.to_server.drain()
        return None

    async def _cut(self, mishap: Mishap, line: Line, chunk: bytes) -> None:
        if mishap is Mishap.LATE:
            line.is_held = True
            self._send_off(self._deliver_late(line, chunk))
        elif mishap is Mishap.DROP_AFTER:
            line.is_deaf = True
            line.answered.clear()
            line.to_server.write(chunk)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S_MAX):
                    await line.answered.wait()
        elif mishap is Mishap.RESET_REQUESTS:
            line.to_server.write(chunk[: self._chance.randrange(len(chunk))])
            await asyncio.sleep(self._chance.choice((0, HOLD_S_MAX)))
            _reset(line.to_client)
            line.to_server.transport.abort()

    async def _pass_replies(self, line: Line) -> None:
        while chunk := await line.server.read(CHUNK):
            line.answered.set()
            mishap = None if line.is_deaf else self._next_mishap(MISHAPS_OF_REPLIES, line.unanswered)
            line.unanswered = 0
            if mishap:
                self.mishaps[mishap] += 1
            if mishap is Mishap.HOLD_REPLIES:
                await asyncio.sleep(self._chance.uniform(0, HOLD_S_MAX))
            elif mishap is Mishap.SILENCE:
                await asyncio.sleep(self._silence_s)
            elif mishap is Mishap.RESET_REPLIES:
                line.to_client.write(chunk[: self._chance.randrange(len(chunk))])
                await asyncio.sleep(self._chance.choice((0, HOLD_S_MAX)))
                _reset(line.to_client)
                return line.to_server.transport.abort()
            if not line.is_deaf:
                line.to_client.write(chunk)
                await line.to_client.drain()
        return None

    async def _deliver_late(self, line: Line, chunk: bytes) -> None:
        held = Held(set(self._operation.findall(chunk)))
        self._held.add(held)
        await self.reachable.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKED_AGAIN_S_MAX if held.operations else 0):
                await held.overtaken.wait()
        await asyncio.sleep(self._chance.uniform(0, LATE_S_MAX))
        self._held.discard(held)
        self.overtaken += held.overtaken.is_set()
        await _say_and_hang_up(chunk, line.server, line.to_server)

    async def _say_again(self, chunk: bytes) -> None:
        await _say_and_hang_up(chunk, *await asyncio.open_unix_connection(self._server_path))

    def _look_for_held(self, chunk: bytes) -> None:
        if self._held:
            operations = set(self._operation.findall(chunk))
            for held in self._held:
                if not held.operations.isdisjoint(operations):
                    held.overtaken.set()

    def _next_mishap(self, rates: Mapping[Mishap, float], commands: int) -> Mishap | None:
        if not self.is_rough:
            return None
        drawn = self._chance.random() * 1_000 / (commands + CHUNK_COUNTS)
        for mishap, rate in rates.items():
            drawn -= rate
            if drawn < 0:
                return mishap
        return None

    def _send_off(self, errand: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


async def _say_and_hang_up(chunk: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send requests and nothing more; return when the server has dealt with them, whatever it answers."""
    with suppress(ConnectionError):
        async with asyncio.timeout(HANG_UP_S_MAX):
            writer.write(chunk)
            writer.write_eof()
            while await reader.read(CHUNK):
                pass
    writer.close()


@asynccontextmanager
async def running_cutting_proxy(
    server_url: str, *, seed: int, silence_s: float, operation: re.Pattern[bytes]
) -> AsyncIterator[CuttingProxy]:
    """Run a cutting proxy in front of a server on a unix socket."""
    path = server_url.removeprefix("unix://")
    proxy = CuttingProxy(path, seed=seed, silence_s=silence_s, operation=operation)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.finish()
