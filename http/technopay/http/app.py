"""The application: routes requests to the engine. It parses, asks and renders; it decides nothing."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from technopay.engine import Engine, InternalError, TechnopayError
from technopay.http.admission import Admission
from technopay.http.auth import Authenticator
from technopay.http.bounds import Bounds
from technopay.http.metrics import Metrics
from technopay.http.open_routes import open_routes
from technopay.http.openapi import openapi_document
from technopay.http.operator_routes import OPERATOR_ROUTES
from technopay.http.parsing import BODY_LENGTH_MAX
from technopay.http.pipeline import WebHandler, make_handler
from technopay.http.problems import MethodNotAllowed, NotFound, problem_response
from technopay.http.routes import Route
from technopay.http.seen import SAFE_HEADERS, SEEN, Seen
from technopay.http.user_routes import USER_ROUTES

logger = logging.getLogger(__name__)

VERSION = "0.1.0"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

ADMISSION = web.AppKey("admission", Admission)
TABLE = web.AppKey("table", tuple)
"""All routes of an application."""


def create_app(
    engine: Engine,
    authenticator: Authenticator,
    *,
    more_routes: Sequence[Route] = (),
    bounds: Bounds | None = None,
) -> web.Application:
    """Make an application for an engine that somebody else starts and closes.

    It can be served as it is or mounted as a sub-application. `more_routes` are served as those of the API are.
    """
    bounds = bounds or Bounds()
    metrics = Metrics(engine)
    app = web.Application(middlewares=[_make_middleware(metrics)], client_max_size=BODY_LENGTH_MAX)
    admission = app[ADMISSION] = Admission(bounds.requests_max)
    routes: tuple[Route, ...] = (
        *USER_ROUTES,
        *OPERATOR_ROUTES,
        *open_routes(metrics, admission, lambda: document),
        *more_routes,
    )
    document = openapi_document(routes, VERSION)
    app[TABLE] = routes
    for route in routes:
        handler = make_handler(route, engine, authenticator, admission, bounds)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET" and route.scope is None:
            app.router.add_route("HEAD", route.path, handler)
    return app


def _make_middleware(metrics: Metrics) -> Middleware:
    """Make what gives every request an id, every error a problem, and counts."""

    @web.middleware
    async def middleware(request: web.Request, handler: WebHandler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        seen = request[SEEN] = Seen(given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8))
        began = time.monotonic()
        code = ""
        try:
            response = await handler(request)
        except Exception as error:
            refusal = _translate(error, seen.request_id)
            code = refusal.code
            response = problem_response(refusal, seen.request_id, operator=seen.is_operator)
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = error.headers["Allow"]
        for name, value in SAFE_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = seen.request_id
        # Paths and methods that are not ours are as many as somebody likes to make up.
        path, method = (seen.route.path, seen.route.method) if seen.route else ("unknown", "unknown")
        metrics.observe(path, method, response.status, code, time.monotonic() - began)
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
