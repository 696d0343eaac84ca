"""Serves an application: listening sockets, accepted connections, and a drain at the end."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from technopay.engine.outage_log import OutageLog
from technopay.http.server.connection import ConnectionFactory
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit

logger = logging.getLogger(__name__)

CONCURRENCY = web.AppKey("concurrency", ConcurrencyLimit)

DRAIN_S = 10.0
BACKLOG = 1024
TURN_S = 0.001
"""After a connection a process leaves the next one to the others for so long."""
EXHAUSTED_PAUSE_S = 1.0
"""How long no connection is accepted after the system had no resources for one."""

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class CannotListen(OSError):
    """An address cannot be listened on; the message names it and the reason in one line."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        # The error numbers of name resolution are not those of the system.
        has_text = cause.errno is None or isinstance(cause, socket.gaierror)
        reason = cause.strerror or str(cause) if has_text else os.strerror(cause.errno or 0)
        super().__init__(f"cannot listen on {format_address(host, port)}: {reason[:1].lower()}{reason[1:]}")
        self.errno = cause.errno


def format_address(host: str, port: int) -> str:
    """Return an address as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of a host, with port 0 on any free port, or raise CannotListen."""
    loop = asyncio.get_running_loop()
    try:
        # create_server resolves host names, also to several addresses.
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as error:
        raise CannotListen(host, port, error) from error
    sockets = [each.dup() for each in bound.sockets]
    bound.close()
    try:
        for each in sockets:
            each.listen(BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        raise CannotListen(host, port, error) from error
    return sockets


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, limits: ServerLimits | None = None, drain_s: float = DRAIN_S
) -> AsyncIterator[tuple[str, int]]:
    """Serve until the end of the block, then drain. Yields the address, with port 0 a free one."""
    async with _prepared(app, drain_s) as runner:
        sockets = await listen(host, port)
        async with _accepting(runner, sockets, limits, drain_s, are_shared=False) as address:
            yield address


@asynccontextmanager
async def serving_on(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    limits: ServerLimits | None = None,
    drain_s: float = DRAIN_S,
) -> AsyncIterator[tuple[str, int]]:
    """Serve as `serving` does, on sockets from `listen` that other processes share.

    At the end this process closes its own handles of the sockets.
    """
    async with (
        _prepared(app, drain_s) as runner,
        _accepting(runner, sockets, limits, drain_s, are_shared=True) as address,
    ):
        yield address


@asynccontextmanager
async def _prepared(app: web.Application, drain_s: float) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=drain_s)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _accepting(
    runner: web.AppRunner,
    sockets: Sequence[socket.socket],
    limits: ServerLimits | None,
    drain_s: float,
    *,
    are_shared: bool,
) -> AsyncIterator[tuple[str, int]]:
    assert runner.server is not None
    address = sockets[0].getsockname()
    connections = ConnectionFactory(runner.server, limits or ServerLimits())
    listeners: list[SharedListener | asyncio.Server] = []
    for each in sockets:
        if are_shared:
            listeners.append(SharedListener(each, connections))
        else:
            loop = asyncio.get_running_loop()
            listeners.append(await loop.create_server(connections, sock=each, backlog=BACKLOG))
    try:
        yield str(address[0]), int(address[1])
    finally:
        # The listeners stay open, so that /readyz can report the drain.
        await runner.app[CONCURRENCY].drain(drain_s)
        for listener in listeners:
            listener.close()
        connections.abort_rejected()


class SharedListener:
    """Accepts one connection at a time from a shared socket, and leaves the next to other processes.

    If each process accepted all pending connections, a burst would go to the first one to wake. A process that
    is dead or stuck accepts none: the others get them.
    """

    def __init__(self, listening: socket.socket, factory: ProtocolFactory) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._factory = factory
        self._starting: set[asyncio.Task[object]] = set()
        self._outage = OutageLog(logger, "connections cannot be accepted", "connections are accepted again")
        self._pause: asyncio.TimerHandle | None = None
        self._next_at_s = 0.0
        listening.settimeout(0)
        self._watch()

    def close(self) -> None:
        """Accept no more. Other processes go on."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _watch(self) -> None:
        self._loop.add_reader(self._socket, self._accept)

    def _resume(self) -> None:
        """Accept again; a late loop accepts at once as many connections as it missed turns.

        Else a busy process would accept one connection in each long turn of its loop.
        """
        missed = int((self._loop.time() - self._next_at_s) / TURN_S)
        if missed:
            self._accept(min(missed, BACKLOG))
        else:
            self._watch()

    def _accept(self, count: int = 1) -> None:
        pause_s = TURN_S
        for _ in range(count):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._watch()  # another process took it, or the client has disconnected
                return
            except OSError as error:
                self._outage.fail(repr(error))
                pause_s = EXHAUSTED_PAUSE_S
                break
            self._outage.end()
            self._start(accepted)
        self._loop.remove_reader(self._socket)
        self._next_at_s = self._loop.time() + pause_s
        self._pause = self._loop.call_at(self._next_at_s, self._resume)

    def _start(self, accepted: socket.socket) -> None:
        accepted.settimeout(0)
        starting = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, accepted))
        self._starting.add(starting)
        starting.add_done_callback(self._started)

    def _started(self, starting: asyncio.Task[object]) -> None:
        self._starting.discard(starting)
        if not starting.cancelled() and (error := starting.exception()):
            logger.error("a connection could not start", exc_info=error)
