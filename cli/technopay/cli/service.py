"""Puts a service together: store, engine, sign-in, application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from technopay.cli.logs import LogCollector
from technopay.cli.seed import seed
from technopay.cli.services import require_services, running_services, warn_of_services
from technopay.cli.settings import ConfigurationError, Settings
from technopay.cli.sign_in import SignIn, make_sign_in
from technopay.engine import Engine, EngineSettings
from technopay.engine.settings import key_id_of
from technopay.http.app import METRICS, create_app
from technopay.http.bounds import Bounds
from technopay.http.demo_guard import DemoGuard, is_loopback
from technopay.http.listening import show_address
from technopay.http.mocks import mock_routes
from technopay.http.seen import OnRequest
from technopay.http.server import serving
from technopay.http.team import Team
from technopay.storage import RedisStore

logger = logging.getLogger(__name__)

EXPOSED = "the demo listens on %s: every client that reaches this address can act as an operator"
Serve = Callable[..., AbstractAsyncContextManager[tuple[str, int]]]
"""Serves an application within its bounds: `serving` or `serving_on`, told where."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs: where it is and what it stands on."""

    url: str
    engine: Engine
    sign_in: SignIn
    tell_metrics: Callable[[], bytes]
    """Writes down the metrics of this process, for the others of a team."""


def make_store(settings: Settings, *, initialise: bool, demo: bool) -> RedisStore:
    """Make the store that the settings name; it is not opened yet."""
    if settings.redis_url:
        store = RedisStore.connect(
            settings.redis_url,
            initialise=initialise,
            timezone=settings.timezone,
            durability=settings.durability,
        )
    else:
        store = RedisStore.embedded(settings.data_dir, timezone=settings.timezone)
    store.is_for_demo = demo
    return store


def engine_settings(settings: Settings, secret: str, *, demo: bool) -> EngineSettings:
    """Choose what an engine is set to; a demo has no limits on behaviour."""

    def limit(most: int) -> int | None:
        return None if demo or most == 0 else most

    return EngineSettings(
        secret=secret,
        previous_secrets=settings.previous_secrets,
        code_lifetime_s=settings.code_lifetime_s,
        codes_per_hour=limit(settings.codes_per_hour),
        confirms_per_minute=limit(settings.confirms_per_minute),
        failures_per_day=limit(settings.failures_per_day),
    )


def settle_sign_in(settings: Settings, *, demo: bool) -> tuple[str, SignIn]:
    """Answer the secret and who may call, before anything is started.

    Raises:
        ConfigurationError: something is set wrongly; a line each says what.

    """
    wrong = []
    try:
        require_services(settings, demo=demo)
    except ConfigurationError as error:
        wrong.append(str(error))
    try:
        secret = settings.demo_secret() if demo else settings.require_secret()
        sign_in = make_sign_in(settings, secret)
    except ConfigurationError as error:
        wrong.insert(0, str(error))
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return secret, sign_in


def serve_at(host: str, port: int) -> Serve:
    """Choose the address to serve at."""
    return partial(serving, host=host, port=port)


def show_url(host: str, port: int) -> str:
    """Write down where a service is."""
    return f"http://{show_address(host, port)}"


@asynccontextmanager
async def running_service(
    settings: Settings,
    serve: Serve,
    *,
    initialise: bool = False,
    demo: bool = False,
    on_request: OnRequest | None = None,
    team: Team | None = None,
) -> AsyncIterator[Service]:
    """Run a service until the block is left. It drains from the outside in: server, engine, store."""
    secret, sign_in = settle_sign_in(settings, demo=demo)
    bounds = Bounds(
        connections_max=settings.connections_max,
        requests_max=settings.requests_max,
        keepalive_s=settings.keepalive_s,
    )
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(make_store(settings, initialise=initialise, demo=demo))
        # Before anything is written to it.
        is_unseeded = demo and await store.mark_demo()
        if demo:
            sign_in = sign_in.for_demo(secret, (await store.read_meta())["incarnation"])
        services = await stack.enter_async_context(running_services(settings, store, demo=demo))
        engine = await stack.enter_async_context(
            Engine(
                store,
                engine_settings(settings, secret, demo=demo),
                settlement_service=services.settlement,
                channels=services.channels,
                verifier=services.verifier,
            )
        )
        if is_unseeded:
            await seed(engine)
            await store.mark_seeded()
        app = create_app(
            engine,
            sign_in.authenticator,
            more_routes=mock_routes(store, sign_in.require_signer("--demo")) if demo else (),
            guard=DemoGuard(settings.host, settings.cors_origins) if demo else None,
            bounds=bounds,
            on_request=on_request,
            has_metrics=settings.metrics,
            cors_origins=settings.cors_origins,
            trusted_proxies=settings.trusted_proxies,
            team=team,
        )
        app[METRICS].add(LogCollector())
        async with serve(app, bounds=bounds) as (host, port):
            if team is None:
                warn(settings, demo=demo)
                await report_live_codes(store, settings, secret)
            yield Service(show_url(host, port), engine, sign_in, app[METRICS].tell)


def warn(settings: Settings, *, demo: bool) -> None:
    """Log at each start what is not for real use."""
    warn_of_services(settings, demo=demo)
    if demo and not is_loopback(settings.host):
        logger.warning(EXPOSED, settings.host)


async def report_live_codes(store: RedisStore, settings: Settings, secret: str) -> None:
    """Log how many codes that can still be used each secret has, where a store has seen more than one."""
    known = set((await store.read_meta()).get("secret_ids", "").split())
    ours = {key_id_of(each) for each in (secret, *settings.previous_secrets)}
    is_refused = known and known.isdisjoint(ours)
    if is_refused or (len(ours) == 1 and known <= ours):
        return
    counts, is_all = await store.count_live_codes()
    told = [f"{counts.pop(key_id_of(secret), 0)} of TECHNOPAY_SECRET"]
    for number, each in enumerate(settings.previous_secrets, 1):
        told.append(f"{counts.pop(key_id_of(each), 0)} of item {number} of TECHNOPAY_SECRET_PREVIOUS")
    told.append(f"{counts.total()} of secrets that are not set here")
    logger.info("live codes%s: %s", "" if is_all else ", at least", ", ".join(told))
