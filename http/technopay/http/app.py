"""The application: routes requests to the engine. It parses, asks and renders; it decides nothing."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from technopay.engine import Engine, InternalError, TechnopayError
from technopay.http.admission import Admission
from technopay.http.auth import Authenticator
from technopay.http.bounds import Bounds
from technopay.http.event_routes import event_routes
from technopay.http.metrics import Metrics
from technopay.http.open_routes import open_routes
from technopay.http.openapi import openapi_document
from technopay.http.operator_routes import OPERATOR_ROUTES
from technopay.http.parsing import BODY_LENGTH_MAX
from technopay.http.pipeline import Pipeline, WebHandler, expect_continue
from technopay.http.problems import MethodNotAllowed, NotFound
from technopay.http.render import problem_response
from technopay.http.routes import Route
from technopay.http.seen import SEEN, OnRequest, Seen
from technopay.http.team import Team
from technopay.http.user_routes import USER_ROUTES

logger = logging.getLogger(__name__)

VERSION = "0.1.0"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

ADMISSION = web.AppKey("admission", Admission)
METRICS = web.AppKey("metrics", Metrics)
TABLE = web.AppKey("table", tuple)
"""All routes of an application."""


def create_app(
    engine: Engine,
    authenticator: Authenticator,
    *,
    more_routes: Sequence[Route] = (),
    bounds: Bounds | None = None,
    on_request: OnRequest | None = None,
    has_metrics: bool = True,
    team: Team | None = None,
) -> web.Application:
    """Make an application for an engine that somebody else starts and closes.

    It can be served as it is or mounted as a sub-application. `more_routes` are served as those of the API are;
    `on_request` is told of every request that was answered. With a `team`, metrics are of all its workers.
    """
    bounds = bounds or Bounds()
    admission = Admission(bounds.requests_max, bounds.requests_per_user_max)
    metrics = Metrics(engine, admission, team)
    watchers: list[OnRequest] = [metrics.observe] if has_metrics else []
    if on_request:
        watchers.append(on_request)
    app = web.Application(middlewares=[_make_middleware(watchers)], client_max_size=BODY_LENGTH_MAX)
    app[ADMISSION] = admission
    app[METRICS] = metrics
    routes: tuple[Route, ...] = (
        *USER_ROUTES,
        *event_routes(bounds.ping_interval_s),
        *OPERATOR_ROUTES,
        *open_routes(metrics, admission, lambda: document),
        *more_routes,
    )
    document = openapi_document(routes, VERSION)
    app[TABLE] = routes
    for route in routes:
        handler = Pipeline(route, engine, authenticator, admission, bounds).handler
        app.router.add_route(route.method, route.path, handler, expect_handler=expect_continue)
        if route.method == "GET" and route.scope is None:
            app.router.add_route("HEAD", route.path, handler)

    async def stop_admitting(_: web.Application) -> None:
        """Let streams end; for what else runs, whoever serves the application waits."""
        await admission.drain(0.0)

    async def watch_pressure(_: web.Application) -> AsyncIterator[None]:
        watching = asyncio.create_task(admission.watch_pressure(), name="pressure")
        yield
        watching.cancel()
        await asyncio.wait([watching])

    app.on_shutdown.append(stop_admitting)
    app.cleanup_ctx.append(watch_pressure)
    return app


def _make_middleware(watchers: Sequence[OnRequest]) -> Middleware:
    """Make what gives every request an id, every error a problem, and tells those who watch."""
    random_bits = random.Random(secrets.randbits(128)).getrandbits  # noqa: S311 - names requests, keeps no secret

    @web.middleware
    async def middleware(request: web.Request, handler: WebHandler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"{random_bits(64):016x}"
        seen = request[SEEN] = Seen(request_id, time.monotonic(), request.match_info)
        try:
            response = await handler(request)
        except Exception as error:
            refusal = _translate(error, seen.request_id)
            seen.code, seen.record = refusal.code, getattr(refusal, "payment", None)
            response = problem_response(refusal, seen)
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = error.headers["Allow"]
        seen.status, seen.took_s = response.status, time.monotonic() - seen.began_s
        for watcher in watchers:
            watcher(seen)
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
