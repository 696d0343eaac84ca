"""Where connections come in: listening at an address, and taking what comes, also beside other processes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from technopay.engine.outage import Outage

logger = logging.getLogger(__name__)

BACKLOG = 1024
TURN_S = 0.001
"""For so long a process leaves the next connection to others: else whoever wakes first takes all there are."""
EXHAUSTED_PAUSE_S = 1.0
"""How long nothing is accepted when the system has no room for another connection."""

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Closable(Protocol):
    """Something that takes connections until it is closed."""

    def close(self) -> None:
        """Take no more."""
        ...


class CannotListen(OSError):
    """Raised when an address cannot be listened at; names it, and says why in one line."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        # What could not be resolved has numbers of its own.
        is_named = cause.errno is None or isinstance(cause, socket.gaierror)
        reason = cause.strerror or str(cause) if is_named else os.strerror(cause.errno or 0)
        super().__init__(f"cannot listen on {show_address(host, port)}: {reason[:1].lower()}{reason[1:]}")
        self.errno = cause.errno


def show_address(host: str, port: int) -> str:
    """Write an address as URLs do."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def listen(host: str, port: int) -> list[socket.socket]:
    """Listen at all addresses of a host, port 0 at any free port; nothing is accepted yet.

    Raises:
        CannotListen: the address is in use, or is none of ours.

    """
    loop = asyncio.get_running_loop()
    try:
        # It knows of hosts with several addresses, and of the two kinds of them.
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


async def accept_alone(sockets: Sequence[socket.socket], factory: ProtocolFactory) -> list[Closable]:
    """Take every connection that comes; the sockets are closed with what is answered."""
    loop = asyncio.get_running_loop()
    return [await loop.create_server(factory, sock=each, backlog=BACKLOG) for each in sockets]


async def accept_in_turn(sockets: Sequence[socket.socket], factory: ProtocolFactory) -> list[Closable]:
    """Take connections from sockets that other processes accept from, too."""
    return [SharedListener(each, factory) for each in sockets]


class SharedListener:
    """Takes one connection at a time from a socket, and leaves the next to other processes for a moment.

    Where all take whatever is there, a burst goes to the process that wakes first. A process that is gone or
    stuck takes none: what comes then is the others'.
    """

    def __init__(self, listening: socket.socket, factory: ProtocolFactory) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._factory = factory
        self._beginning: set[asyncio.Task[object]] = set()
        self._outage = Outage(logger, "connections cannot be accepted", "connections are accepted again")
        self._pause: asyncio.TimerHandle | None = None
        self._next_at_s = 0.0
        listening.settimeout(0)
        self._look()

    def close(self) -> None:
        """Take no more. Other processes that share the socket go on."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _look(self) -> None:
        self._loop.add_reader(self._socket, self._accept)

    def _go_on(self) -> None:
        """Take turns again: a loop that is late has missed some, and makes up for them at once.

        Else a busy process would take one connection in several turns of its loop, however long those are.
        """
        missed = int((self._loop.time() - self._next_at_s) / TURN_S)
        if missed:
            self._accept(min(missed, BACKLOG))
        else:
            self._look()

    def _accept(self, most: int = 1) -> None:
        pause_s = TURN_S
        for _ in range(most):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._look()  # it was another's turn, or the client has left
                return
            except OSError as error:
                self._outage.fail(repr(error))
                pause_s = EXHAUSTED_PAUSE_S
                break
            self._outage.end()
            self._begin(accepted)
        self._loop.remove_reader(self._socket)
        self._next_at_s = self._loop.time() + pause_s
        self._pause = self._loop.call_at(self._next_at_s, self._go_on)

    def _begin(self, accepted: socket.socket) -> None:
        accepted.settimeout(0)
        begun = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, accepted))
        self._beginning.add(begun)
        begun.add_done_callback(self._begun)

    def _begun(self, beginning: asyncio.Task[object]) -> None:
        self._beginning.discard(beginning)
        if not beginning.cancelled() and (error := beginning.exception()):
            logger.error("a connection could not begin", exc_info=error)
