"""How a request is answered, step by step, in the order of precedence of their errors."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from aiohttp import HttpVersion11, web

from technopay.engine import Engine, OutcomeUnknown
from technopay.http.admission import Admission
from technopay.http.auth import ADMIN, NOBODY, Authenticator, Caller
from technopay.http.bounds import Bounds
from technopay.http.connection import refuse_on_reserve
from technopay.http.parsing import read_body, read_key, read_query
from technopay.http.problems import Forbidden, MalformedRequest
from technopay.http.render import problem_response
from technopay.http.routes import Answer, Call, Route, Stream
from technopay.http.seen import SEEN, Seen, headers_for

logger = logging.getLogger(__name__)

GONE_INTERVAL_S = 0.5
PIECE_BYTES = 64 * 1024

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pipeline:
    """Answers the requests of one route."""

    def __init__(
        self, route: Route, engine: Engine, authenticator: Authenticator, admission: Admission, bounds: Bounds
    ) -> None:
        self._route = route
        self._engine = engine
        self._authenticator = authenticator
        self._admission = admission
        self._bounds = bounds
        # What is answered with 201 was not there before.
        self._begins = route.status == 201
        self._deadline_s: float = getattr(bounds, route.deadline)
        self._no_body, self._no_query = route.body.model_construct(), route.query()

    @property
    def handler(self) -> WebHandler:
        """What answers a request: what needs no sign-in is always let in."""
        return self._open_to_all if self._route.scope is None else self._signed_in

    async def _open_to_all(self, request: web.Request) -> web.StreamResponse:
        request[SEEN].route = self._route
        return await self._send(request, await self._ask(request, NOBODY))

    async def _signed_in(self, request: web.Request) -> web.StreamResponse:
        request[SEEN].route = self._route
        refuse_on_reserve(request)
        self._admission.enter(begins=self._begins)
        try:
            return await self._send(request, await self._answer_in_time(request))
        finally:
            self._admission.leave()

    async def _answer_in_time(self, request: web.Request) -> Answer | Stream:
        try:
            async with asyncio.timeout(self._deadline_s):
                caller = await self._authenticate(request)
                with self._admission.of_user(caller.user_id):
                    return await self._ask(request, caller)
        except TimeoutError:
            raise OutcomeUnknown("There was no answer in time. Ask again with the same key or id.") from None

    async def _authenticate(self, request: web.Request) -> Caller:
        seen, scope = request[SEEN], self._route.scope
        assert scope is not None
        caller = await self._authenticator.authenticate(request)
        seen.user_id = caller.user_id
        seen.is_operator = scope == ADMIN
        if scope not in caller.scopes:
            raise Forbidden(scope=scope)
        return caller

    async def _ask(self, request: web.Request, caller: Caller) -> Answer | Stream:
        route = self._route
        key = read_key(request) if route.takes_key else None
        body = self._no_body
        if route.method != "GET":
            body = await read_body(request, route.body, self._bounds.body_deadline_s)
        query = self._no_query
        if request.query_string and not route.ignores_query:
            query = read_query(request, route.query)
        if key is not None:
            key = hashlib.sha256(f"{caller.user_id} {key}".encode()).hexdigest()
        return await route.handler(
            Call(
                self._engine,
                caller,
                request.match_info,
                request.headers,
                body,
                query,
                key,
                _mount(request, route),
            )
        )

    async def _send(self, request: web.Request, answered: Answer | Stream) -> web.StreamResponse:
        if isinstance(answered, Stream):
            request[SEEN].is_stream = True
            with self._admission.as_stream():
                return await send_stream(request, answered, self._admission, self._bounds)
        seen = request[SEEN]
        seen.record = answered.record
        headers = headers_for(seen, answered.media)
        if answered.headers:
            headers.update(answered.headers)
        if len(answered.body) > PIECE_BYTES:
            return await send_in_pieces(request, answered, headers)
        return web.Response(body=answered.body, status=answered.status, headers=headers)


def _mount(request: web.Request, route: Route) -> str:
    """Answer the path below which the application is mounted."""
    resource = request.match_info.route.resource
    return resource.canonical.removesuffix(route.path) if resource else ""


async def expect_continue(request: web.Request) -> web.StreamResponse | None:
    """Answer an Expect header, as aiohttp does; one that asks for something else is a problem of ours."""
    if request.version < HttpVersion11:
        return None
    if request.headers.get("Expect", "").lower() != "100-continue":
        error = MalformedRequest("Expect can only be 100-continue.")
        return problem_response(error, Seen(secrets.token_hex(8), time.monotonic(), {}))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What was written is not part of the answer.
    request.writer.output_size = 0
    return None


async def send_in_pieces(
    request: web.Request, answered: Answer, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send a long body piece by piece, each when the one before is taken: readers who stay away hold little."""
    response = web.StreamResponse(status=answered.status, headers=headers)
    response.content_length = len(answered.body)
    await response.prepare(request)
    if request.method != "HEAD":
        for begin in range(0, len(answered.body), PIECE_BYTES):
            await response.write(answered.body[begin : begin + PIECE_BYTES])
    return response


async def send_stream(
    request: web.Request, stream: Stream, admission: Admission, bounds: Bounds
) -> web.StreamResponse:
    """Send a stream until it or its time ends, the client leaves or is too slow, or the server drains."""
    response = web.StreamResponse(headers={**headers_for(request[SEEN], stream.media), **stream.headers})

    async def pump() -> None:
        await response.prepare(request)
        async for chunk in stream.chunks:
            async with asyncio.timeout(bounds.write_deadline_s):
                await response.write(chunk)

    async with aclosing(stream.chunks):
        pumping = asyncio.create_task(pump())
        tasks = {
            pumping,
            asyncio.create_task(admission.wait_until_draining()),
            asyncio.create_task(_wait_until_gone(request)),
        }
        try:
            await asyncio.wait(tasks, timeout=bounds.stream_s_max, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    error = None if pumping.cancelled() else pumping.exception()
    if error and not isinstance(error, TimeoutError | ConnectionError):
        logger.error("the stream of request %s crashed", request[SEEN].request_id, exc_info=error)
    # A polite end would say that this was all, and it would wait for a reader who does not read.
    if error and request.transport:
        request.transport.abort()
    return response


async def _wait_until_gone(request: web.Request) -> None:
    """Wait until the client has left: a stream without news would not find out before its next ping."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(GONE_INTERVAL_S)
