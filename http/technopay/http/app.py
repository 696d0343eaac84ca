"""The application: routes requests to the engine. It parses, asks and renders; it decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from aiohttp import web

from technopay.engine import Engine
from technopay.http.admission import Admission
from technopay.http.auth import Authenticator
from technopay.http.bounds import Bounds
from technopay.http.client_address import ClientAddress, Network
from technopay.http.cors import Cors
from technopay.http.event_routes import event_routes
from technopay.http.metrics import Metrics
from technopay.http.open_routes import open_routes
from technopay.http.openapi import openapi_document
from technopay.http.operator_routes import OPERATOR_ROUTES
from technopay.http.parsing import BODY_LENGTH_MAX
from technopay.http.pipeline import Frame, Guard, Pipeline, expect_continue
from technopay.http.routes import Route
from technopay.http.routing import RouteTable
from technopay.http.seen import OnRequest
from technopay.http.team import Team
from technopay.http.user_routes import USER_ROUTES

VERSION = "0.1.0"

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
    guard: Guard | None = None,
    cors_origins: Collection[str] = (),
    trusted_proxies: Collection[Network] = (),
) -> web.Application:
    """Make an application for an engine that somebody else starts and closes.

    It can be served as it is or mounted as a sub-application. `more_routes` are served as those of the API are;
    `on_request` is told of every request that was answered. With a `team`, metrics are of all its workers.
    A `guard` raises for requests that are not to be answered. Pages of `cors_origins` may use the API;
    `trusted_proxies` are believed from which client a request of theirs came.
    """
    bounds = bounds or Bounds()
    admission = Admission(
        bounds.requests_max, bounds.requests_per_user_max, bounds.waits_max, bounds.waits_per_user_max
    )
    metrics = Metrics(engine, admission, team)
    watchers: list[OnRequest] = [metrics.observe] if has_metrics else []
    if on_request:
        watchers.append(on_request)
    app = web.Application(client_max_size=BODY_LENGTH_MAX)
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
    cors = Cors(cors_origins) if cors_origins else None
    frame = Frame(watchers, guard, cors, ClientAddress(trusted_proxies))
    table = RouteTable(frame.refuse_path(), frame.refuse_method, expect_continue)
    for route in routes:
        handler = Pipeline(route, table, engine, authenticator, admission, bounds).handler(frame)
        table.add(route.method, route.path, handler)
        if route.method == "GET":
            table.add("HEAD", route.path, handler)
    app.router.register_resource(table)

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
