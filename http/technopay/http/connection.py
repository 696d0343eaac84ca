"""A client's connection, with the bounds that aiohttp does not set by itself, and how many there may be."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from yarl import URL

from technopay.engine import InternalError, Overloaded, TechnopayError
from technopay.http.bounds import Bounds
from technopay.http.problems import MalformedRequest, NotFound
from technopay.http.render import problem_response
from technopay.http.seen import Seen
from technopay.http.whole import HttpDate, WholeResponse

logger = logging.getLogger(__name__)

LINE_LENGTH_MAX = 8190
HEADERS_MAX = 64
SLASHES_MAX = 64
"""In the path of a request: aiohttp's router takes time with their square. No path of ours has as many."""
NOWHERE = "/." * 3
RESERVE = 16
"""Connections beyond the bound, for health checks: one request each, and nothing that needs sign-in."""

RESERVE_DEADLINE_S = 2.0
REFUSED_MAX = 16
REFUSED_DEADLINE_S = 1.0


class Connection(web.RequestHandler):
    """Speaks HTTP with one client."""

    __slots__ = ("_cut_off", "_date", "_head_deadline_s", "_on_end", "_wire", "_write_deadline_s", "is_reserve")

    def __init__(
        self,
        server: web.Server,
        bounds: Bounds,
        date: HttpDate,
        on_end: Callable[[], None],
        *,
        is_reserve: bool,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=cast("logging.Logger", None),
            keepalive_timeout=RESERVE_DEADLINE_S if is_reserve else bounds.keepalive_s,
            max_line_size=LINE_LENGTH_MAX,
            max_field_size=LINE_LENGTH_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=bounds.body_deadline_s,
            # A body is read after sign-in, and what is left of one is thrown away: nothing is unpacked.
            auto_decompress=False,
        )
        self._request_factory = partial(_make_request, self._request_factory)
        self.is_reserve = is_reserve
        self._head_deadline_s = min(self._keepalive_timeout, bounds.head_deadline_s)
        self._write_deadline_s = bounds.write_deadline_s
        self._date = date
        self._on_end = on_end
        self._wire: asyncio.Transport | None = None
        self._cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; whatever the client does not take at once counts as not taken."""
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        # aiohttp gives a new connection as long as an idle one.
        if self._keepalive_handle:
            self._keepalive_handle.cancel()
        self._next_keepalive_close_time = self._loop.time() + self._head_deadline_s
        self._keepalive_handle = self._loop.call_later(self._head_deadline_s, self._process_keepalive)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._count_out()
        if self._cut_off:
            self._cut_off.cancel()
        super().connection_lost(exc)

    @property
    def idle_since(self) -> float | None:
        """When the last answer was sent, or the connection began, by the loop's clock; None amid a request."""
        if self._waiter is None or self._waiter.done():
            return None
        given_s = self._keepalive_timeout if self._request_count else self._head_deadline_s
        return self._next_keepalive_close_time - given_s

    def make_room(self) -> None:
        """End while idle; it counts no more from now on."""
        self._count_out()
        self.force_close()

    def _count_out(self) -> None:
        self._on_end()
        self._on_end = _nothing

    def pause_writing(self) -> None:
        """Give the client its time to take what is written."""
        super().pause_writing()
        assert self._wire is not None
        # To close would be to wait until all is taken.
        self._cut_off = self._loop.call_later(self._write_deadline_s, self._wire.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._cut_off:
            self._cut_off.cancel()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - as it is called
        """Go on reading where that was paused. Whoever takes a body asks for it each time."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what is no HTTP; nothing of it is logged, for there may be a token in it."""
        if request.writer.output_size > 0:
            raise ConnectionError("half of an answer is sent already")
        error: TechnopayError = InternalError()
        if status == web.HTTPBadRequest.status_code:
            logger.debug("a request was no HTTP: %s", type(exc).__name__)
            error = MalformedRequest("The request cannot be read as HTTP.")
        else:
            logger.error("a request crashed outside of the application", exc_info=exc)
        response = problem_response(error, _unnamed())
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, in one piece if it is whole and nothing is unusual; on the reserve, the only one."""
        if isinstance(resp, WholeResponse):
            if self._takes_whole(request):
                return resp, await self._send_whole(request, resp)
            resp = resp.as_response()
        if isinstance(resp, web.HTTPNotFound) and not request.rel_url.path_safe:
            # What asks for no path at all, like CONNECT, is shown to no table of routes.
            resp = problem_response(NotFound(), _unnamed())
        if self.is_reserve:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def _takes_whole(self, request: web.BaseRequest) -> bool:
        """Whether an answer to a request is its head and its body, and the connection stays."""
        is_usual = request.version == HttpVersion11 and request.method != "HEAD" and request.keep_alive
        return is_usual and not self.is_reserve and not self._upgraded

    async def _send_whole(self, request: web.BaseRequest, response: WholeResponse) -> bool:
        """Send an answer in one piece; answer whether the client has left before."""
        wire = self.transport
        if wire is None or wire.is_closing():
            return True
        wire.write(response.to_bytes(self._date.now()))
        if self.writing_paused:
            try:
                await request.writer.drain()
            except ConnectionError:
                return True
        return False


class Refused(asyncio.Protocol):
    """Tells one client too many that there is too much to do, and reads nothing of what it says."""

    def __init__(self, refused: set[Refused]) -> None:
        self._refused = refused
        self._wire: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer, and leave the client a moment to read it: to close at once would take the answer back."""
        self._wire = cast("asyncio.Transport", transport)
        self._wire.write(_overloaded())
        if len(self._refused) >= REFUSED_MAX:
            self._wire.close()
            return
        self._refused.add(self)
        self._wire.write_eof()
        self._end = asyncio.get_running_loop().call_later(REFUSED_DEADLINE_S, self._wire.abort)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """End."""
        self._refused.discard(self)
        if self._end:
            self._end.cancel()

    def abort(self) -> None:
        """Hang up."""
        assert self._wire is not None
        self._wire.abort()


class Connections:
    """Makes connections, and not more than are bounded."""

    def __init__(self, server: web.Server, bounds: Bounds) -> None:
        self._server = server
        self._bounds = bounds
        self._date = HttpDate()
        self._open = 0
        self._refused: set[Refused] = set()
        # Those that were idle when that was looked for, the longest last, with since when.
        self._idle: list[tuple[float, Connection]] = []
        self._look_at_s = 0.0

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._open

    def __call__(self) -> asyncio.Protocol:
        """Make a connection, or what refuses it; a new one goes before one that is idle."""
        if self._open >= self._bounds.connections_max:
            self._close_longest_idle()
        if self._open >= self._bounds.connections_max + RESERVE:
            return Refused(self._refused)
        self._open += 1
        is_reserve = self._open > self._bounds.connections_max
        return Connection(self._server, self._bounds, self._date, self._count_out, is_reserve=is_reserve)

    def hang_up(self) -> None:
        """Leave nobody who was refused waiting."""
        for each in tuple(self._refused):
            each.abort()

    def _close_longest_idle(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            while self._idle:
                since, connection = self._idle.pop()
                if connection.idle_since == since:
                    connection.make_room()
                    return
            began_s = clock()
            if began_s < self._look_at_s:
                return
            ours = (each for each in self._server.connections if isinstance(each, Connection))
            idle = [(since_s, each) for each in ours if (since_s := each.idle_since) is not None]
            self._idle = sorted(idle, key=itemgetter(0), reverse=True)
            # To look takes a tenth of the time at most, however many there are and come.
            self._look_at_s = clock() + 9 * (clock() - began_s)

    def _count_out(self) -> None:
        self._open -= 1


def _make_request(make: Any, message: RawRequestMessage, *others: Any) -> web.BaseRequest:
    """Make a request of what was read; one with too many slashes is for a path that leads nowhere."""
    slashes = message.path.count("/")
    if slashes > SLASHES_MAX and slashes - message.path.partition("?")[2].count("/") > SLASHES_MAX:
        message = message._replace(url=URL(NOWHERE, encoded=True), path=NOWHERE)
    return cast("web.BaseRequest", make(message, *others))


def _nothing() -> None:
    """Do nothing."""


def refuse_on_reserve(request: web.Request) -> None:
    """Refuse a request on a connection that is there for health checks.

    Raises:
        Overloaded.

    """
    # An application that is served by others has connections of theirs.
    connection: Any = request.protocol
    if isinstance(connection, Connection) and connection.is_reserve:
        raise Overloaded("As many connections as may be are open. Nothing happened; try again.")


def _overloaded() -> bytes:
    """Write the answer to a connection too many."""
    error = Overloaded("As many connections as may be are open. Nothing happened; try again.")
    response = problem_response(error, _unnamed())
    headers = {**response.headers, "Connection": "close"}
    body = cast("bytes", response.body)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _unnamed() -> Seen:
    """Answer what is seen of what never was a request."""
    return Seen(secrets.token_hex(8), time.monotonic(), {})
