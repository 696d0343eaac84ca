"""The application: routes requests to the engine. It parses, asks and renders; it decides nothing."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from technopay.engine import Engine, InternalError, TechnopayError
from technopay.http.auth import ADMIN, Authenticator, Caller
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
    """Whether the server drains: /readyz says so, and no new work is sent here."""

    draining: bool = False


REQUEST_ID_KEY = web.RequestKey("request_id", str)
CODE_KEY = web.RequestKey("code", str)
CALLER_KEY = web.RequestKey("caller", Caller)
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
        app.router.add_route(route.method, route.path, _make_handler(route, engine, authenticator))
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


def _make_handler(route: Route, engine: Engine, authenticator: Authenticator) -> WebHandler:
    """Make the handler of a route. The order of the steps is the order of precedence of their errors."""

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = authenticator.authenticate(request.headers.get("Authorization"))
        request[CALLER_KEY] = caller
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

    return handle


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
        except TechnopayError as error:
            code = error.code
            response = _refuse(request, request_id, error)
        except web.HTTPException as error:
            refusal = _translate(error)
            code = refusal.code
            response = _refuse(request, request_id, refusal)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception:
            logger.exception("request %s crashed", request_id)
            code = InternalError.code
            response = _refuse(request, request_id, InternalError())
        response.headers.update(SAFE_HEADERS)
        response.headers["X-Request-Id"] = request_id
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "unknown"
        metrics.observe(path, request.method, response.status, code, time.monotonic() - began)
        return response

    return middleware


def _refuse(request: web.Request, request_id: str, error: TechnopayError) -> web.Response:
    caller = request.get(CALLER_KEY)
    operator = caller is not None and ADMIN in caller.scopes
    return problem_response(error, request_id, operator=operator)


def _translate(error: web.HTTPException) -> TechnopayError:
    """Turn what aiohttp refuses by itself into our errors."""
    match error.status:
        case 404:
            return NotFound()
        case 405:
            return MethodNotAllowed()
        case _:
            logger.error("aiohttp answered %s", error.status)
            return InternalError()
