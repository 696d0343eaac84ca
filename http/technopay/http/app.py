"""The application: all routes for an engine, which another part of the program starts and closes."""

import asyncio
import logging
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from http import HTTPMethod, HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from technopay.engine import Engine, InternalError, TechnopayError, tracing
from technopay.engine.tracing import Tracing
from technopay.http.access_record import RECORD, RequestObserver, RequestRecord
from technopay.http.api.events import ALL_EVENT_ROUTES, EVENT_ROUTES
from technopay.http.api.health import AUDIT_ROUTES, HEALTH_ROUTES, METRICS_MEDIA, METRICS_ROUTES
from technopay.http.api.invoices import INVOICE_ROUTES
from technopay.http.api.limits import LIMIT_ROUTES
from technopay.http.api.notifications import NOTIFICATION_ROUTES
from technopay.http.api.payments import PAYMENT_ROUTES
from technopay.http.api.reconciliation import RECONCILIATION_ROUTES
from technopay.http.api.request_handler import RequestHandler
from technopay.http.api.route import Route
from technopay.http.api.users import USER_ROUTES
from technopay.http.api.wallets import WALLET_ROUTES
from technopay.http.api.webhooks import WEBHOOK_ROUTES
from technopay.http.auth.origins import Cors
from technopay.http.auth.tokens import Authenticator
from technopay.http.metrics import METRICS, Metrics, WorkerPeers
from technopay.http.openapi.document import openapi_routes
from technopay.http.pages.docs.page import DOCS_ROUTES
from technopay.http.pages.start import START_ROUTES
from technopay.http.problems import MethodNotAllowed, NotFound
from technopay.http.requests import BODY_LENGTH_MAX
from technopay.http.responses import problem_response
from technopay.http.server.client_address import ClientAddress, Network
from technopay.http.server.connection import expect_continue, respond
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit
from technopay.http.server.serving import CONCURRENCY

logger = logging.getLogger(__name__)

METHODS = frozenset(HTTPMethod)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

ROUTES = web.AppKey("routes", tuple)
UNKNOWN = "/{path}"
"""The path of the last resource, for every path and method without a route."""

Guard = Callable[[web.Request], None]
"""Raises for a request that must not be processed."""

API_ROUTES: tuple[Route, ...] = (
    *WALLET_ROUTES, *INVOICE_ROUTES, *PAYMENT_ROUTES, *USER_ROUTES, *LIMIT_ROUTES, *NOTIFICATION_ROUTES,
    *ALL_EVENT_ROUTES, *WEBHOOK_ROUTES, *RECONCILIATION_ROUTES, *AUDIT_ROUTES,
)  # fmt: skip


def create_app(
    engine: Engine,
    authenticator: Authenticator,
    *,
    more_routes: Sequence[Route] = (),
    limits: ServerLimits | None = None,
    observer: RequestObserver | None = None,
    has_metrics: bool = True,
    serves_metrics: bool = True,
    peers: WorkerPeers | None = None,
    guard: Guard | None = None,
    cors_origins: Collection[str] = (),
    trusted_proxies: Collection[Network] = (),
) -> web.Application:
    """Make an application, to be served or to be mounted in another one.

    The `observer` is called after every response. `has_metrics` counts requests; without `serves_metrics` the
    metrics are for `create_metrics_app`. With `peers`, metrics are those of all workers. The `guard`
    raises for requests that must not be processed. Pages of `cors_origins` may use the API. `trusted_proxies`
    may name the client in `X-Forwarded-For`.
    """
    limits = limits or ServerLimits()
    concurrency = ConcurrencyLimit(limits)
    metrics = Metrics(engine, concurrency, peers)
    observers = [*([metrics.observe] if has_metrics else []), *([observer] if observer else [])]
    cors = Cors(cors_origins) if cors_origins else None
    metrics_routes = METRICS_ROUTES if serves_metrics else ()
    routes = (
        *API_ROUTES,
        *EVENT_ROUTES,
        *HEALTH_ROUTES,
        *metrics_routes,
        *START_ROUTES,
        *DOCS_ROUTES,
        *more_routes,
    )
    routes = (*routes, *openapi_routes(routes))
    templates: dict[web.AbstractResource | None, str] = {}
    middleware = make_middleware(templates, observers, guard, cors, ClientAddress(trusted_proxies))
    if trace := tracing.active():
        middleware = make_traced(middleware, trace)
    app = web.Application(client_max_size=BODY_LENGTH_MAX, middlewares=[middleware])
    app[CONCURRENCY], app[METRICS], app[ROUTES] = concurrency, metrics, routes
    resources: dict[str, web.Resource] = {}
    for route in routes:
        handler = RequestHandler(route, engine, authenticator, concurrency, limits).handle
        resource = resources.get(route.path) or app.router.add_resource(route.path)
        resources[route.path], templates[resource] = resource, route.path or "/"
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            resource.add_route(method, handler, expect_handler=expect_continue)
    unknown = app.router.add_resource("/{path:.*}")
    unknown.add_route("*", make_refusal(templates, cors), expect_handler=expect_continue)

    async def stop_streams(_: web.Application) -> None:
        """End the streams; the program that serves the application waits for all other requests."""
        await concurrency.drain(0.0)

    async def watch_lag(_: web.Application) -> AsyncIterator[None]:
        watching = asyncio.create_task(concurrency.watch_lag(), name="lag")
        yield
        watching.cancel()
        await asyncio.wait([watching])

    app.on_shutdown.append(stop_streams)
    app.cleanup_ctx.append(watch_lag)
    return app


def create_metrics_app(app: web.Application) -> web.Application:
    """Make an application that serves the metrics of another one, and nothing else."""
    metrics = app[METRICS]

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=await metrics.render(), headers={"Content-Type": METRICS_MEDIA})

    alone = web.Application()
    alone[CONCURRENCY] = ConcurrencyLimit(ServerLimits())
    alone.router.add_get("/metrics", show)
    return alone


def make_middleware(
    templates: Mapping[web.AbstractResource | None, str],
    observers: Sequence[RequestObserver],
    guard: Guard | None,
    cors: Cors | None,
    client_address: ClientAddress,
) -> Middleware:
    """Make the middleware: it gives a request its id and record, makes problems of errors, calls observers."""
    random_bits = random.Random(secrets.randbits(128)).getrandbits  # noqa: S311 - ids, no secrets

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request.headers.get("X-Request-Id")
        if request_id is None or not REQUEST_ID.fullmatch(request_id):
            request_id = f"{random_bits(64):016x}"
        resource = request.match_info.route.resource
        template = templates.get(resource)
        record = RequestRecord(
            request_id,
            time.monotonic(),
            path=request.match_info,
            method=request.method if request.method in METHODS else "unknown",
            client=client_address.of(request),
            template=template,
            mount=resource.canonical.removesuffix(template or UNKNOWN) if resource else "",
            extra_headers=cors.headers_for(request) if cors else None,
        )
        request[RECORD] = record
        try:
            if guard:
                guard(request)
            response = await handler(request)
        except Exception as error:
            refusal = _public_error(error, request_id)
            record.code, record.subject = refusal.code, getattr(refusal, "payment", None)
            response = respond(request, record, problem_response(refusal, record))
        record.status, record.took_s = response.status, time.monotonic() - record.started_s
        for observer in observers:
            observer(record)
        return response

    return middleware


def make_traced(middleware: Middleware, trace: Tracing) -> Middleware:
    """Make a middleware that makes a span around another one; the span has no path, no caller and no body."""

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        with trace.request(request.headers) as span:
            response = await middleware(request, handler)
            record = request[RECORD]
            route = f"{record.mount}{record.template or '/unknown'}"
            span.update_name(f"{record.method} {route}")
            ids = {f"technopay.{name}": each for name, each in record.ids().items() if name != "user_id"}
            span.set_attributes(
                {
                    "http.request.method": record.method,
                    "http.route": route,
                    "http.response.status_code": record.status,
                    "technopay.code": record.code or "ok",
                    "technopay.request_id": record.request_id,
                    **ids,
                }
            )
            if record.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                tracing.fail(span, record.code)
            return response

    return traced


def make_refusal(templates: Mapping[web.AbstractResource | None, str], cors: Cors | None) -> Handler:
    """Make the handler for a path or a method without a route."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        record = request[RECORD]
        for resource, template in templates.items():
            allowed = (await resource.resolve(request))[1] if resource else set()
            if allowed:
                record.template = template
                methods = ",".join(sorted(allowed))
                if cors and (preflight := cors.preflight_response(request, methods)):
                    return respond(request, record, preflight)
                raise MethodNotAllowed(allowed=methods)
        raise NotFound

    return refuse


def _public_error(error: Exception, request_id: str) -> TechnopayError:
    """Return the error for the client; an internal error is logged, and its cause is not shown."""
    if isinstance(error, TechnopayError) and not isinstance(error, InternalError):
        return error
    if isinstance(error, web.HTTPNotFound):
        return NotFound()  # aiohttp's router: an empty path, or one next to that of a mounted application
    logger.error("request %s crashed", request_id, exc_info=error)
    return InternalError()
