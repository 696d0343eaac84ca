"""Connections of clients, and all that depends on the insides of aiohttp. Tried with aiohttp 3.14.1 and 3.14.5.

Members of `web.RequestHandler` that aiohttp does not document and this file uses:

- overridden: `handle_error`, `finish_response`, `pause_writing`, `resume_writing`, `resume_reading`
- read: `_loop`, `_keepalive_timeout`, `_waiter`, `_request_count`, `_reading_paused`, `_buffer_paused`,
  `_upgraded`, `writing_paused`; called: `_process_keepalive`, `force_close`
- set: `_request_factory`, `_keepalive_handle`, `_next_keepalive_close_time`

`PrebuiltResponse` skips the constructor of `web.StreamResponse`. `expect_continue` sets `writer.output_size`.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache, partial
from http import HTTPStatus
from operator import itemgetter
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from yarl import URL

from technopay.engine import InternalError, Overloaded, TechnopayError
from technopay.http.access_record import RequestRecord
from technopay.http.problems import MalformedRequest
from technopay.http.responses import NO_CONTENT, SAFE_HEADERS, Response, problem_response
from technopay.http.server.limits import ServerLimits

logger = logging.getLogger(__name__)

LINE_LENGTH_MAX = 8190
HEADERS_MAX = 64
SLASHES_MAX = 64
"""In a path: aiohttp's router takes time with their square. No route has as many."""
UNKNOWN_PATH = "/." * 3
RESERVE = 16
"""Connections past the limit, for health checks: one request each, of a route without sign-in."""

RESERVE_DEADLINE_S = 2.0
REJECTED_MAX = 16
REJECTED_DEADLINE_S = 1.0
TOO_MANY = "Too many open connections. Nothing happened; try again."


class PrebuiltResponse(web.StreamResponse):
    """A response that a Connection writes in one piece, head and body.

    aiohttp's own way prepares for many other kinds of response. This way saves 16 % of the instructions of a
    request in HTTP alone (377,000 instead of 447,000; measured 2026-11-29 with callgrind).
    """

    def __init__(self, record: RequestRecord, response: Response) -> None:
        # Without super().__init__(): only a Connection gets this response.
        self._record = record
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open; this class is not used where it does not."""
        return True

    def to_web(self) -> web.Response:
        """Return it as a response of aiohttp."""
        return self._response.to_web(self._record)

    def to_bytes(self, date: str) -> bytes:
        response = self._response
        more = header_lines(response.headers) if response.headers else ""
        if self._record.extra_headers:
            more += header_lines(self._record.extra_headers)
        head = (
            f"{first_lines(response.status, response.media)}X-Request-Id: {self._record.request_id}\r\n{more}"
            f"Content-Length: {len(response.body)}\r\nDate: {date}\r\n\r\n"
        )
        return head.encode() + response.body


@lru_cache(maxsize=256)
def first_lines(status: int, media: str) -> str:
    """Return the first lines of all responses of one kind."""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" + header_lines(
        {"Content-Type": media, **SAFE_HEADERS}
    )


def header_lines(headers: Mapping[str, str]) -> str:
    """Return headers as lines, or raise ValueError if one contains the end of a line."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(str.isprintable, lines)):
        raise ValueError("a header contains the end of a line")
    return "\r\n".join([*lines, ""])


@lru_cache(maxsize=1)
def http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def respond(request: web.Request, record: RequestRecord, response: Response) -> web.StreamResponse:
    """Return what aiohttp sends: a prebuilt response if no other application, middleware or hook can see it."""
    if response.subject is not None:
        record.subject = response.subject
    apps = request.match_info.apps
    is_alone = len(apps) == 1 and len(apps[0].middlewares) == 1 and not apps[0].on_response_prepare
    # A response without content has no length, either (RFC 9110, 8.6).
    if is_alone and response.status != NO_CONTENT and isinstance(request.protocol, Connection):
        return PrebuiltResponse(record, response)
    return response.to_web(record)


class Connection(web.RequestHandler):
    """The connection of one client."""

    __slots__ = ("_cut_off", "_head_deadline_s", "_on_end", "_tcp", "_write_deadline_s", "is_reserve")

    def __init__(
        self, server: web.Server, limits: ServerLimits, on_end: Callable[[], None], *, is_reserve: bool
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=cast("logging.Logger", None),
            keepalive_timeout=RESERVE_DEADLINE_S if is_reserve else limits.keepalive_s,
            max_line_size=LINE_LENGTH_MAX,
            max_field_size=LINE_LENGTH_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=limits.body_deadline_s,
            # A body is read after sign-in; what is left of one is discarded. Nothing is unpacked.
            auto_decompress=False,
        )
        self._request_factory = partial(_make_request, self._request_factory)
        self.is_reserve = is_reserve
        self._head_deadline_s = min(self._keepalive_timeout, limits.head_deadline_s)
        self._write_deadline_s = limits.write_deadline_s
        self._on_end = on_end
        self._tcp: asyncio.Transport | None = None
        self._cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast("asyncio.Transport", transport)
        # Whatever the client does not read at once starts the write deadline.
        self._tcp.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        # aiohttp gives a new connection as much time as an idle one.
        if self._keepalive_handle:
            self._keepalive_handle.cancel()
        self._next_keepalive_close_time = self._loop.time() + self._head_deadline_s
        self._keepalive_handle = self._loop.call_later(self._head_deadline_s, self._process_keepalive)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._count_out()
        if self._cut_off:
            self._cut_off.cancel()
        super().connection_lost(exc)

    @property
    def idle_since(self) -> float | None:
        """The loop's time of the last response, or of the connection's start; None during a request."""
        if self._waiter is None or self._waiter.done():
            return None
        given_s = self._keepalive_timeout if self._request_count else self._head_deadline_s
        return self._next_keepalive_close_time - given_s

    def make_room(self) -> None:
        """Close while idle; the connection does not count any more."""
        self._count_out()
        self.force_close()

    def _count_out(self) -> None:
        self._on_end()
        self._on_end = lambda: None

    def pause_writing(self) -> None:
        super().pause_writing()
        assert self._tcp is not None
        # close() would wait until the client has read everything.
        self._cut_off = self._loop.call_later(self._write_deadline_s, self._tcp.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._cut_off:
            self._cut_off.cancel()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Resume a paused connection. aiohttp calls this for every body, also if nothing is paused."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Respond to bytes that are not HTTP; they are not logged, because they can contain a token."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response was already sent")
        error: TechnopayError = InternalError()
        if status == web.HTTPBadRequest.status_code:
            logger.debug("a request was no HTTP: %s", type(exc).__name__)
            error = MalformedRequest("The request cannot be read as HTTP.")
        else:
            logger.error("a request crashed outside of the application", exc_info=exc)
        response = _unrecorded_problem(error)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, a prebuilt one in one piece if possible; a reserve connection then closes."""
        if isinstance(resp, PrebuiltResponse):
            if self._can_send_prebuilt(request):
                return resp, await self._send_prebuilt(request, resp)
            resp = resp.to_web()
        if self.is_reserve:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def _can_send_prebuilt(self, request: web.BaseRequest) -> bool:
        """Whether the response is a head and a body, and the connection stays open."""
        is_usual = request.version == HttpVersion11 and request.method != "HEAD" and request.keep_alive
        return is_usual and not self.is_reserve and not self._upgraded

    async def _send_prebuilt(self, request: web.BaseRequest, response: PrebuiltResponse) -> bool:
        """Send a response in one piece; return whether the client has disconnected."""
        tcp = self.transport
        if tcp is None or tcp.is_closing():
            return True
        tcp.write(response.to_bytes(http_date(int(time.time()))))
        if self.writing_paused:
            try:
                await request.writer.drain()
            except ConnectionError:
                return True
        return False


class RejectedConnection(asyncio.Protocol):
    """Replies 503 to one client too many, without reading its request."""

    def __init__(self, rejected: set["RejectedConnection"]) -> None:
        self._rejected = rejected
        self._tcp: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast("asyncio.Transport", transport)
        self._tcp.write(_overloaded())
        if len(self._rejected) >= REJECTED_MAX:
            self._tcp.close()
            return
        self._rejected.add(self)
        # The client gets a moment to read: to close at once would discard the response.
        self._tcp.write_eof()
        self._end = asyncio.get_running_loop().call_later(REJECTED_DEADLINE_S, self._tcp.abort)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        self._rejected.discard(self)
        if self._end:
            self._end.cancel()

    def abort(self) -> None:
        assert self._tcp is not None
        self._tcp.abort()


class ConnectionFactory:
    """Makes connections up to the limit."""

    def __init__(self, server: web.Server, limits: ServerLimits) -> None:
        self._server = server
        self._limits = limits
        self._open = 0
        self._rejected: set[RejectedConnection] = set()
        # Idle connections at the last search, with the time since when; the longest idle one is last.
        self._idle: list[tuple[float, Connection]] = []
        self._search_at_s = 0.0

    def __call__(self) -> asyncio.Protocol:
        """Make a connection, in place of an idle one if the limit is reached, or one that is rejected."""
        if self._open >= self._limits.connections_max:
            self._close_longest_idle()
        if self._open >= self._limits.connections_max + RESERVE:
            return RejectedConnection(self._rejected)
        self._open += 1
        is_reserve = self._open > self._limits.connections_max
        return Connection(self._server, self._limits, self._count_out, is_reserve=is_reserve)

    def abort_rejected(self) -> None:
        for each in tuple(self._rejected):
            each.abort()

    def _close_longest_idle(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            while self._idle:
                since, connection = self._idle.pop()
                if connection.idle_since == since:
                    connection.make_room()
                    return
            started_s = clock()
            if started_s < self._search_at_s:
                return
            ours = (each for each in self._server.connections if isinstance(each, Connection))
            idle = [(since_s, each) for each in ours if (since_s := each.idle_since) is not None]
            self._idle = sorted(idle, key=itemgetter(0), reverse=True)
            # Searches take at most a tenth of the time, however many connections there are.
            self._search_at_s = clock() + 9 * (clock() - started_s)

    def _count_out(self) -> None:
        self._open -= 1


def refuse_on_reserve(request: web.Request) -> None:
    """Raise Overloaded for a request on a connection for health checks."""
    # In an application that another server serves, connections are not ours.
    connection: Any = request.protocol
    if isinstance(connection, Connection) and connection.is_reserve:
        raise Overloaded(TOO_MANY)


async def expect_continue(request: web.Request) -> web.StreamResponse | None:
    """Respond to an Expect header as aiohttp does, but with a problem for any other expectation."""
    if request.version < HttpVersion11:
        return None
    if request.headers.get("Expect", "").lower() != "100-continue":
        return _unrecorded_problem(MalformedRequest("Expect can only be 100-continue."))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # This is no part of the response.
    request.writer.output_size = 0
    return None


def _make_request(make: Any, message: RawRequestMessage, *others: Any) -> web.BaseRequest:
    """Make a request; the path of one with too many slashes is replaced by an unknown one."""
    slashes = message.path.count("/")
    if slashes > SLASHES_MAX and slashes - message.path.partition("?")[2].count("/") > SLASHES_MAX:
        message = message._replace(url=URL(UNKNOWN_PATH, encoded=True), path=UNKNOWN_PATH)
    return cast("web.BaseRequest", make(message, *others))


def _overloaded() -> bytes:
    """Return the bytes of the response to a rejected connection."""
    response = _unrecorded_problem(Overloaded(TOO_MANY))
    headers = {**response.headers, "Connection": "close"}
    body = cast("bytes", response.body)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _unrecorded_problem(error: TechnopayError) -> web.Response:
    """Return a problem for bytes that never became a request of the application."""
    record = RequestRecord(secrets.token_hex(8), time.monotonic(), {})
    return problem_response(error, record).to_web(record)
