"""How a request is answered, step by step, in the order of precedence of their errors."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from aiohttp import web

from technopay.engine import Engine, OutcomeUnknown
from technopay.http.admission import Admission
from technopay.http.auth import ADMIN, NOBODY, Authenticator
from technopay.http.bounds import Bounds
from technopay.http.parsing import read_body, read_key, read_query
from technopay.http.problems import Forbidden
from technopay.http.routes import Answer, Call, Route, Stream
from technopay.http.seen import SEEN, headers_for

logger = logging.getLogger(__name__)

GONE_INTERVAL_S = 0.5

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_handler(
    route: Route, engine: Engine, authenticator: Authenticator, admission: Admission, bounds: Bounds
) -> WebHandler:
    """Make the handler of a route."""
    deadline_s: float = getattr(bounds, route.deadline)

    no_body, no_query = route.body.model_construct(), route.query()

    async def open_to_all(request: web.Request) -> web.StreamResponse:
        request[SEEN].route = route
        return await send(request, await answer(request))

    async def signed_in(request: web.Request) -> web.StreamResponse:
        request[SEEN].route = route
        admission.enter()
        try:
            return await send(request, await answer_in_time(request))
        finally:
            admission.leave()

    async def answer_in_time(request: web.Request) -> Answer | Stream:
        try:
            async with asyncio.timeout(deadline_s):
                return await answer(request)
        except TimeoutError:
            raise OutcomeUnknown("There was no answer in time. Ask again with the same key or id.") from None

    async def answer(request: web.Request) -> Answer | Stream:
        seen = request[SEEN]
        caller = NOBODY
        if route.scope is not None:
            caller = await authenticator.authenticate(request)
            seen.user_id = caller.user_id
            seen.is_operator = route.scope == ADMIN
            if route.scope not in caller.scopes:
                raise Forbidden
        key = read_key(request) if route.takes_key else None
        body = no_body if route.method == "GET" else await read_body(request, route.body)
        query = read_query(request, route.query) if request.query_string else no_query
        if key is not None:
            key = hashlib.sha256(f"{caller.user_id} {key}".encode()).hexdigest()
        mount = _mount(request, route)
        return await route.handler(
            Call(engine, caller, request.match_info, request.headers, body, query, key, mount)
        )

    async def send(request: web.Request, answered: Answer | Stream) -> web.StreamResponse:
        if isinstance(answered, Stream):
            return await _send(request, answered, admission, bounds.write_deadline_s)
        seen = request[SEEN]
        seen.record = answered.record
        headers = headers_for(seen, answered.media)
        if answered.headers:
            headers.update(answered.headers)
        return web.Response(body=answered.body, status=answered.status, headers=headers)

    return open_to_all if route.scope is None else signed_in


def _mount(request: web.Request, route: Route) -> str:
    """Answer the path below which the application is mounted."""
    resource = request.match_info.route.resource
    return resource.canonical.removesuffix(route.path) if resource else ""


async def _send(
    request: web.Request, stream: Stream, admission: Admission, write_deadline_s: float
) -> web.StreamResponse:
    """Send the chunks of a stream until it ends, the client leaves or is too slow, or the server drains."""
    response = web.StreamResponse(headers={**headers_for(request[SEEN], stream.media), **stream.headers})

    async def pump() -> None:
        await response.prepare(request)
        async for chunk in stream.chunks:
            async with asyncio.timeout(write_deadline_s):
                await response.write(chunk)

    async with aclosing(stream.chunks):
        pumping = asyncio.create_task(pump())
        tasks = {
            pumping,
            asyncio.create_task(admission.wait_until_draining()),
            asyncio.create_task(_wait_until_gone(request)),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
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
