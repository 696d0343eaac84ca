"""The composition root: a service out of store, plug-ins, engine, sign-in and application."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from technopay.cli.archive.archiving import archiving
from technopay.cli.auth import SignIn, make_sign_in
from technopay.cli.demo.seed import seed
from technopay.cli.logs import LogCollector
from technopay.cli.plugins import MOCK_CODE, PORTS, require_plugins, running_plugins, setting_of
from technopay.cli.service_variables import MOCK
from technopay.cli.settings import ConfigurationError, Settings, trace_exporters
from technopay.engine import Engine, EngineSettings
from technopay.engine.fields import is_loopback
from technopay.engine.settings import key_id_of
from technopay.http.access_record import RequestObserver
from technopay.http.api.demo import mock_routes
from technopay.http.app import create_app, create_metrics_app
from technopay.http.auth.origins import DemoGuard
from technopay.http.metrics import METRICS, WorkerPeers
from technopay.http.server.limits import ServerLimits
from technopay.http.server.serving import format_address, serving
from technopay.http.webhooks import HttpWebhookSender
from technopay.storage import RedisStore

logger = logging.getLogger(__name__)

MOCK_EFFECTS = {
    "settlement": "no money is settled",
    "email": "no message is sent by e-mail",
    "sms": "no message is sent by SMS",
    "verifier": f"every payment is confirmed with {MOCK_CODE}",
}
EXPOSED = (
    "the demo listens on %s: every client that reaches this address can act as an operator; let it listen on "
    "127.0.0.1 (TECHNOPAY_HOST), or keep other machines out of this network"
)
SCRAPERS_MAX = 16
"""Connections to the address of the metrics."""

Serve = Callable[..., AbstractAsyncContextManager[tuple[str, int]]]
"""Serves an application within its limits: `serving` or `serving_on`, with an address or sockets."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    url: str
    metrics_url: str | None
    """The address of the metrics, if they have one of their own."""
    engine: Engine
    sign_in: SignIn
    export_metrics: Callable[[], bytes]
    """Exports the metrics of this process, for its peers."""


def make_store(settings: Settings, *, initialise: bool, demo: bool) -> RedisStore:
    """Make the store of the settings; it is not opened yet."""
    if settings.redis_url:
        store = RedisStore.connect(
            settings.redis_url,
            initialise=initialise,
            timezone=settings.timezone,
            durability=settings.durability,
            wait_replicas=settings.wait_replicas,
            wait_ms=settings.wait_ms,
        )
    elif settings.wait_replicas:
        raise ConfigurationError(
            "TECHNOPAY_WAIT_REPLICAS: the embedded store has no replicas; name a server by TECHNOPAY_REDIS_URL"
        )
    else:
        store = RedisStore.embedded(settings.data_dir, timezone=settings.timezone)
    store.is_for_demo = demo
    return store


def engine_settings(settings: Settings, secret: str, *, demo: bool) -> EngineSettings:
    """Return the settings of the engine; a demo has no limits on behaviour."""
    names = ("codes_per_hour", "confirms_per_minute", "failures_per_day")
    limits: dict[str, Any] = {name: None if demo else getattr(settings, name) or None for name in names}
    return EngineSettings(
        secret=secret,
        previous_secrets=settings.previous_secrets,
        code_lifetime_s=settings.code_lifetime_s,
        webhook_private=settings.webhook_private,
        **limits,
    )


def require_configuration(settings: Settings, *, demo: bool) -> tuple[str, SignIn]:
    """Return the secret and the sign-in before a start, or raise ConfigurationError; a line for each fault."""
    wrong = []
    try:
        secret = settings.demo_secret() if demo else settings.require_secret()
        sign_in = make_sign_in(settings, secret)
    except ConfigurationError as error:
        wrong.append(str(error))
    try:
        require_plugins(settings, demo=demo)
    except ConfigurationError as error:
        wrong.append(str(error))
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return secret, sign_in


def metrics_host(settings: Settings) -> str:
    return settings.metrics_host or "127.0.0.1"


def show_url(host: str, port: int) -> str:
    return f"http://{format_address(host, port)}"


@asynccontextmanager
async def running_service(
    settings: Settings,
    serve: Serve | None = None,
    *,
    serve_metrics: Serve | None = None,
    initialise: bool = False,
    demo: bool = False,
    observer: RequestObserver | None = None,
    peers: WorkerPeers | None = None,
) -> AsyncIterator[Service]:
    """Run a service until the block ends. It drains from the outside in: server, engine, store."""
    serve = serve or partial(serving, host=settings.host, port=settings.port)
    serve_metrics = serve_metrics or partial(
        serving, host=metrics_host(settings), port=settings.metrics_port or 0
    )
    secret, sign_in = require_configuration(settings, demo=demo)
    limits = ServerLimits(
        connections_max=settings.connections_max,
        requests_max=settings.requests_max,
        keepalive_s=settings.keepalive_s,
    )
    async with AsyncExitStack() as stack:
        if exporters := trace_exporters():
            await stack.enter_async_context(_running_tracing(exporters))
        store = await stack.enter_async_context(make_store(settings, initialise=initialise, demo=demo))
        if demo:
            await seed_once(store, settings, secret)
            sign_in = sign_in.for_demo(secret, (await store.read_meta())["incarnation"])
        plugins = await stack.enter_async_context(running_plugins(settings, store, demo=demo))
        sender = await stack.enter_async_context(HttpWebhookSender(private=settings.webhook_private))
        await stack.enter_async_context(archiving(store, settings.archive_location, settings.keep_days))
        engine = await stack.enter_async_context(
            Engine(
                store,
                engine_settings(settings, secret, demo=demo),
                settlement_service=plugins.settlement,
                channels=plugins.channels,
                verifier=plugins.verifier,
                webhook_sender=sender,
            )
        )
        app = create_app(
            engine,
            sign_in.authenticator,
            more_routes=mock_routes(store, sign_in.require_signer("--demo")) if demo else (),
            guard=DemoGuard(settings.host, settings.cors_origins) if demo else None,
            limits=limits,
            observer=observer,
            has_metrics=settings.metrics,
            serves_metrics=settings.metrics_port is None,
            cors_origins=settings.cors_origins,
            trusted_proxies=settings.trusted_proxies,
            peers=peers,
        )
        app[METRICS].add(LogCollector())
        metrics_url = None
        if settings.metrics_port is not None:
            alone = serve_metrics(create_metrics_app(app), limits=ServerLimits(connections_max=SCRAPERS_MAX))
            metrics_url = show_url(*await stack.enter_async_context(alone))
        async with serve(app, limits=limits) as (host, port):
            if peers is None:
                warn(settings, demo=demo)
                await report_live_codes(store, settings, secret)
            yield Service(show_url(host, port), metrics_url, engine, sign_in, app[METRICS].export)


def _running_tracing(exporters: Sequence[str]) -> AbstractAsyncContextManager[None]:
    """Export traces, or warn if the packages for that are missing: a platform may set the variables for all."""
    try:
        from technopay.cli.tracing import running_tracing
    except ImportError:
        logger.warning("there are no traces: install technopay[otel], or set OTEL_SDK_DISABLED=true")
        return nullcontext()
    return running_tracing(exporters)


async def seed_once(store: RedisStore, settings: Settings, secret: str) -> None:
    """Mark a store as one for a demo, before anything is written to it, and add the demo data."""
    if await store.mark_demo():
        async with Engine(store, engine_settings(settings, secret, demo=True)) as engine:
            await seed(engine)
        await store.mark_seeded()


def warn(settings: Settings, *, demo: bool) -> None:
    """Log at each start what is not for real use: mocks outside a demo, real services in one, its exposure."""
    for name in PORTS:
        factory = getattr(settings, name)
        if factory == MOCK and not demo:
            logger.warning("TECHNOPAY_%s=mock: %s", name.upper(), MOCK_EFFECTS[name])
        elif demo and factory not in (None, MOCK):
            logger.warning("%s: the demo uses this service for real", setting_of(name, factory))
    if demo and not is_loopback(settings.host):
        logger.warning(EXPOSED, settings.host)


async def report_live_codes(store: RedisStore, settings: Settings, secret: str) -> None:
    """Log how much each secret is still needed for, if a store has seen more than one."""
    known = set((await store.read_meta()).get("secret_ids", "").split())
    ours = {key_id_of(each) for each in (secret, *settings.previous_secrets)}
    is_refused = known and known.isdisjoint(ours)
    if is_refused or (len(ours) == 1 and known <= ours):
        return
    secrets = (secret, *settings.previous_secrets)
    codes, is_all = await store.count_live_codes()
    logger.info("live codes%s: %s", "" if is_all else ", at least", _by_secret(codes, secrets))
    logger.info("encrypted records: %s", _by_secret(await store.count_encrypted(), secrets))


def _by_secret(counts: Counter[str], secrets: Sequence[str]) -> str:
    """Write the counts of the keys of secrets, the current one first."""
    parts = [f"{counts.pop(key_id_of(secrets[0]), 0)} of TECHNOPAY_SECRET"]
    for number, each in enumerate(secrets[1:], 1):
        parts.append(f"{counts.pop(key_id_of(each), 0)} of item {number} of TECHNOPAY_SECRET_PREVIOUS")
    parts.append(f"{counts.total()} of secrets that are not set here")
    return ", ".join(parts)
