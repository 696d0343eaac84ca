"""How a request is answered, step by step, in the order of precedence of their errors."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from aiohttp import web

from technopay.engine import Engine, OutcomeUnknown
from technopay.http.admission import Admission
from technopay.http.auth import ADMIN, NOBODY, Authenticator
from technopay.http.bounds import Bounds
from technopay.http.parsing import read_body, read_key, read_query
from technopay.http.problems import Forbidden
from technopay.http.routes import Call, Route, Stream
from technopay.http.seen import SEEN, headers_for

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_handler(
    route: Route, engine: Engine, authenticator: Authenticator, admission: Admission, bounds: Bounds
) -> WebHandler:
    """Make the handler of a route."""
    deadline_s: float = getattr(bounds, route.deadline)

    no_body, no_query = route.body.model_construct(), route.query()

    async def open_to_all(request: web.Request) -> web.StreamResponse:
        request[SEEN].route = route
        return await answer(request)

    async def signed_in(request: web.Request) -> web.StreamResponse:
        request[SEEN].route = route
        admission.enter()
        try:
            async with asyncio.timeout(deadline_s):
                return await answer(request)
        except TimeoutError:
            raise OutcomeUnknown("There was no answer in time. Ask again with the same key or id.") from None
        finally:
            admission.leave()

    async def answer(request: web.Request) -> web.StreamResponse:
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
        call = Call(engine, caller, request.match_info, request.headers, body, query, key, mount)
        answered = await route.handler(call)
        if isinstance(answered, Stream):
            return await _send(request, answered, admission, bounds.write_deadline_s)
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
        async with aclosing(stream.chunks) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                async with asyncio.timeout(write_deadline_s):
                    await response.write(chunk)

    await response.prepare(request)
    pumping = asyncio.create_task(pump())
    draining = asyncio.create_task(admission.wait_until_draining())
    try:
        await asyncio.wait({pumping, draining}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (pumping, draining):
            task.cancel()
        await asyncio.wait({pumping, draining})
    # Who left or did not read has no use for an answer.
    if not pumping.cancelled() and not isinstance(pumping.exception(), ConnectionError | TimeoutError | None):
        pumping.result()
    return response
