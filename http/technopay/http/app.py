"""The application: routes requests to the engine. It parses, asks and renders; it decides nothing."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Middleware

from technopay.engine import Engine, EngineClosed, InternalError, TechnopayError
from technopay.http.auth import ADMIN, Authenticator
from technopay.http.metrics import Metrics
from technopay.http.openapi import openapi_document
from technopay.http.operator_routes import OPERATOR_ROUTES
from technopay.http.parsing import BODY_LENGTH_MAX, read_body, read_key, read_query
from technopay.http.problems import Forbidden, MethodNotAllowed, NotFound, problem_response
from technopay.http.routes import Call, Route
from technopay.http.user_routes import USER_ROUTES

logger = logging.getLogger(__name__)

VERSION = "0.1.0"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Drain:
    """Whether the server drains: /readyz says so, and no new work is taken."""

    draining: bool = False
    _running: int = 0
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the server from ending while something runs.

        Raises:
            EngineClosed: it drains already.

        """
        if self.draining:
            raise EngineClosed("The server drains. Nothing happened.")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._quiet.set()

    async def finish(self, within_s: float) -> None:
        """Drain: let what runs finish, but do not wait longer than this."""
        self.draining = True
        if self._running:
            self._quiet.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), within_s)


OPERATOR_KEY = web.RequestKey("operator", bool)
"""Whether the route is an operator's: there, payments are shown whole."""
DRAIN = web.AppKey("drain", Drain)


def create_app(
    engine: Engine, authenticator: Authenticator, *, more_routes: Sequence[web.RouteDef] = ()
) -> web.Application:
    """Make an application for an engine that somebody else starts and closes.

    It can be served as it is or mounted as a sub-application. `more_routes` are served without sign-in.
    """
    metrics = Metrics(engine)
    app = web.Application(middlewares=[_make_middleware(metrics)], client_max_size=BODY_LENGTH_MAX)
    app[DRAIN] = Drain()
    routes = (*USER_ROUTES, *OPERATOR_ROUTES)
    for route in routes:
        app.router.add_route(route.method, route.path, _make_handler(route, engine, authenticator, app[DRAIN]))
    document = openapi_document(routes, VERSION)

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        if request.app[DRAIN].draining:
            return web.json_response({"status": "draining"}, status=503)
        try:
            await engine.check()
        except TechnopayError as error:
            return web.json_response({"status": error.code}, status=503)
        return web.json_response({"status": "ok"})

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(document)

    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", show_metrics),
            web.get("/openapi.json", openapi),
            *more_routes,
        ]
    )
    return app


def _make_handler(route: Route, engine: Engine, authenticator: Authenticator, drain: Drain) -> WebHandler:
    """Make the handler of a route. The order of the steps is the order of precedence of their errors."""

    async def counted(request: web.Request) -> web.StreamResponse:
        with drain.working():
            return await handle(request)

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = authenticator.authenticate(request.headers.get("Authorization"))
        request[OPERATOR_KEY] = route.scope == ADMIN
        if route.scope not in caller.scopes:
            raise Forbidden
        key = read_key(request) if route.takes_key else None
        body = await read_body(request, route.body) if route.method != "GET" else route.body.model_construct()
        query = read_query(request, route.query)
        scoped_key = None if key is None else hashlib.sha256(f"{caller.user_id} {key}".encode()).hexdigest()
        call = Call(engine, caller, request.match_info, body, query, scoped_key)
        answer = await route.handler(call)
        return web.Response(
            text=answer.text, status=answer.status, headers=answer.headers, content_type="application/json"
        )

    return counted


def _make_middleware(metrics: Metrics) -> Middleware:
    """Make what gives every request an id, every error a problem, and counts."""

    @web.middleware
    async def middleware(request: web.Request, handler: WebHandler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        began = time.monotonic()
        code = ""
        try:
            response = await handler(request)
        except Exception as error:
            refusal = _translate(error, request_id)
            code = refusal.code
            response = problem_response(refusal, request_id, operator=request.get(OPERATOR_KEY, False))
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = error.headers["Allow"]
        response.headers.update(SAFE_HEADERS)
        response.headers["X-Request-Id"] = request_id
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "unknown"
        metrics.observe(path, request.method, response.status, code, time.monotonic() - began)
        return response

    return middleware


def _translate(error: Exception, request_id: str) -> TechnopayError:
    """Turn what was raised into what is answered; a defect is logged, and nothing of it is told."""
    match error:
        case web.HTTPNotFound():
            return NotFound()
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed()
        case TechnopayError() if not isinstance(error, InternalError):
            return error
        case _:
            logger.error("request %s crashed", request_id, exc_info=error)
            return InternalError()
