"""Misbehaving servers: a proxy that loses batches and replies on demand, and a server with fixed replies."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum, auto

import hiredis


class Fault(Enum):
    """The fault of a batch of scripts."""

    CUT_BEFORE = auto()
    """The connection is reset before the server receives the batch."""
    DROP_REPLY = auto()
    """The server ran the batch, then the connection is reset."""
    HALF_REPLY = auto()
    """The server ran the batch; after half of the replies the connection is reset."""
    NEVER_ANSWER = auto()
    """The server ran the batch, and its replies never come."""
    SWALLOW = auto()
    """The batch does not reach the server, and no reply comes."""


class Copy(Enum):
    """A copy of a batch of scripts that reaches the server over a connection of its own."""

    TWICE = auto()
    """The copy comes behind the batch, once its replies are there."""
    LATE = auto()
    """The connection is reset, and only the copy reaches the server, when the test delivers it."""


class Proxy:
    """Stands between a store and its server. A fault strikes the next `times` batches of scripts."""

    def __init__(self, server_path: str) -> None:
        self._server_path = server_path
        self._listener: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0
        self._fault: Fault | Copy | None = None
        self._late: list[bytes] = []
        self._times = 0
        self.child = b"FCALL"
        self.batches = 0
        self.is_deaf = False

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"redis://127.0.0.1:{self._port}"

    def strike(self, fault: Fault | Copy, times: int = 1, child: bytes = b"FCALL") -> None:
        """Apply a fault to the next batches with this command."""
        self._fault, self._times, self.child = fault, times, child

    @property
    def has_struck(self) -> bool:
        """Whether no batch is left to be struck."""
        return self._times == 0

    def heal(self) -> None:
        """Forward everything again."""
        self._fault, self._times, self.is_deaf = None, 0, False

    async def deliver_late(self) -> None:
        """Send the late batches to the server."""
        while self._late:
            await self._send_copy(self._late.pop(0))

    async def _send_copy(self, request: bytes) -> None:
        reader, writer = await asyncio.open_unix_connection(self._server_path)
        writer.write(request)
        await _read_replies(reader, _commands_ended_in(request, hiredis.Reader()))
        writer.close()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and reset the open ones."""
        if self._listener:
            self._listener.close()
            self._listener = None
        for writer in list(self._writers):
            _reset(writer)
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await (_sink(reader) if self.is_deaf else self._pump(reader, writer))
        except (OSError, EOFError):
            pass
        finally:
            self._pumps.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._server_path)
        requests = hiredis.Reader()
        try:
            while request := await reader.read(1 << 20):
                self.batches += b"FCALL" in request
                fault = self._next_fault() if self.child in request else None
                if fault is Copy.LATE:
                    self._late.append(request)
                if fault in (Fault.CUT_BEFORE, Copy.LATE):
                    return _reset(writer)
                if fault is Fault.SWALLOW:
                    return await _sink(reader)
                server_writer.write(request)
                reply = await _read_replies(server_reader, _commands_ended_in(request, requests))
                if fault is Copy.TWICE:
                    await self._send_copy(request)
                if fault is Fault.NEVER_ANSWER:
                    return await _sink(reader)
                if fault is Fault.HALF_REPLY:
                    writer.write(reply[: len(reply) // 2])
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if fault in (Fault.DROP_REPLY, Fault.HALF_REPLY):
                    return _reset(writer)
                writer.write(reply)
        finally:
            server_writer.close()
        return None

    def _next_fault(self) -> Fault | Copy | None:
        if self._times == 0:
            return None
        self._times -= 1
        return self._fault


def _commands_ended_in(request: bytes, requests: hiredis.Reader) -> int:
    """Count the commands that are complete now: a long one comes in several pieces."""
    requests.feed(request)
    count = 0
    while requests.gets() is not False:
        count += 1
    return count


async def _read_replies(server: asyncio.StreamReader, count: int) -> bytes:
    reader, raw = hiredis.Reader(), b""
    while count:
        data = await server.read(1 << 20)
        if not data:
            raise EOFError
        raw += data
        reader.feed(data)
        while count and reader.gets() is not False:
            count -= 1
    return raw


async def _sink(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 20):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, as a crash or a firewall does."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def running_proxy(server_url: str) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a server on a unix socket."""
    proxy = Proxy(server_url.removeprefix("unix://"))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


@asynccontextmanager
async def answering_server(
    replies: Mapping[str, bytes], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Run a server with a fixed reply to each command, OK by default; return its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        try:
            while data := await reader.read(1 << 20):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    writer.write(replies.get(command[0].decode().upper(), b"+OK\r\n"))
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
