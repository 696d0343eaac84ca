"""The composition root: a service out of store, plug-ins, engine, sign-in and application.

A plug-in is a service that a setting names by its factory, `package.module:factory`, or `mock`.
"""

import asyncio
import importlib
import inspect
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import aiohttp

from technopay.cli.auth import SignIn, make_sign_in
from technopay.cli.demo.seed import seed
from technopay.cli.logs import LogCollector
from technopay.cli.settings import MOCK, ConfigurationError, Settings
from technopay.engine import Engine, EngineSettings
from technopay.engine.models import Method
from technopay.engine.ports import Channel, Clock, OutgoingMessage, SettlementService, Store, Verifier
from technopay.engine.settings import key_id_of
from technopay.engine.system import SystemClock
from technopay.engine.testing.doubles import FixedCode
from technopay.engine.testing.mocks import MockChannel, MockSettlementService, require_live
from technopay.http.access_record import RequestObserver
from technopay.http.api.demo import mock_routes
from technopay.http.app import create_app
from technopay.http.auth.origins import DemoGuard, is_loopback
from technopay.http.metrics import METRICS, WorkerPeers
from technopay.http.server.limits import ServerLimits
from technopay.http.server.serving import format_address, serving
from technopay.http.webhooks import HttpWebhookSender
from technopay.storage import RedisStore

logger = logging.getLogger(__name__)

PORTS: Mapping[str, type] = {
    "settlement": SettlementService, "email": Channel, "sms": Channel, "verifier": Verifier,
}  # fmt: skip
METHODS: tuple[Method, ...] = ("email", "sms")
MOCK_CODE = "000000"
"""The code of every payment with the mock verifier."""
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
CONNECTIONS_MAX = 64
"""Connections of all plug-ins together: they count among the files that a process opens besides its clients."""
REQUEST_S_MAX = 10.0
CONNECT_S_MAX = 3.0
START_S_MAX = 30.0
LEAVE_S_MAX = 5.0
ERROR_LENGTH_MAX = 500

Serve = Callable[..., AbstractAsyncContextManager[tuple[str, int]]]
"""Serves an application within its limits: `serving` or `serving_on`, with an address or sockets."""


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The argument of every factory. No secret of technopay is in it."""

    clock: Clock
    session: aiohttp.ClientSession
    """For HTTP, with bounded time-outs. It is closed after the engine has drained."""
    variables: Mapping[str, str] = field(repr=False)
    """The plug-in's own settings: `TECHNOPAY_SETTLEMENT_URL` is `URL` for the settlement service."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    url: str
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


def show_url(host: str, port: int) -> str:
    return f"http://{format_address(host, port)}"


@asynccontextmanager
async def running_service(
    settings: Settings,
    serve: Serve | None = None,
    *,
    initialise: bool = False,
    demo: bool = False,
    observer: RequestObserver | None = None,
    peers: WorkerPeers | None = None,
) -> AsyncIterator[Service]:
    """Run a service until the block ends. It drains from the outside in: server, engine, store."""
    serve = serve or partial(serving, host=settings.host, port=settings.port)
    secret, sign_in = require_configuration(settings, demo=demo)
    limits = ServerLimits(
        connections_max=settings.connections_max,
        requests_max=settings.requests_max,
        keepalive_s=settings.keepalive_s,
    )
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(make_store(settings, initialise=initialise, demo=demo))
        if demo:
            await seed_once(store, settings, secret)
            sign_in = sign_in.for_demo(secret, (await store.read_meta())["incarnation"])
        plugins = await stack.enter_async_context(running_plugins(settings, store, demo=demo))
        sender = await stack.enter_async_context(HttpWebhookSender(private=settings.webhook_private))
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
            cors_origins=settings.cors_origins,
            trusted_proxies=settings.trusted_proxies,
            peers=peers,
        )
        app[METRICS].add(LogCollector())
        async with serve(app, limits=limits) as (host, port):
            if peers is None:
                warn(settings, demo=demo)
                await report_live_codes(store, settings, secret)
            yield Service(show_url(host, port), engine, sign_in, app[METRICS].export)


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
            logger.warning("%s: the demo uses this service for real", _setting(name, factory))
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


@dataclass(frozen=True, slots=True)
class Plugins:
    """The services of one engine."""

    settlement: SettlementService
    channels: Mapping[Method, Channel]
    verifier: Verifier | None


def require_plugins(settings: Settings, *, demo: bool) -> None:
    """Import the factories of the settings, or raise ConfigurationError with the one that fails or is missing.

    Outside a demo, settlement and one channel are required.
    """
    factories = _factories(settings, demo=demo)
    missing = [] if "settlement" in factories else ["TECHNOPAY_SETTLEMENT"]
    if not factories.keys() & set(METHODS):
        missing.append("TECHNOPAY_EMAIL or TECHNOPAY_SMS")
    if missing:
        raise ConfigurationError(
            f"set {' and '.join(missing)}: each names a factory, like {missing[0].split()[0]}=package.module:"
            "factory, or is `mock` to move no money and send no message on purpose; --demo has mocks by default"
        )
    for name, factory in factories.items():
        if factory != MOCK:
            _import_factory(name, factory)


@asynccontextmanager
async def running_plugins(settings: Settings, store: Store, *, demo: bool) -> AsyncIterator[Plugins]:
    """Run the plug-ins until the block ends, with the engine inside it.

    Raises ConfigurationError if a factory fails, or returns something else; one line names it.
    """
    made: dict[str, Any] = {}
    factories = _factories(settings, demo=demo)
    async with AsyncExitStack() as stack:
        if any(factory != MOCK for factory in factories.values()):
            session = await stack.enter_async_context(_make_session())
        for name, factory in factories.items():
            if factory == MOCK:
                made[name] = _make_mock(name, store, demo=demo)
                continue
            context = ServiceContext(SystemClock(), session, settings.variables_of(name))
            service = await _start(stack, name, factory, context)
            made[name] = DemoChannel(service) if demo and PORTS[name] is Channel else service
        channels: dict[Method, Channel] = {name: made[name] for name in METHODS if name in made}
        yield Plugins(made["settlement"], channels, made.get("verifier"))


class DemoChannel:
    """A real channel in a demo: an address that begins with `dead` takes no message here either."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def deliver(self, message: OutgoingMessage) -> None:
        require_live(message)
        await self._channel.deliver(message)


def _factories(settings: Settings, *, demo: bool) -> dict[str, str]:
    """Return the factory of each service that is set; a demo has mocks by default."""
    mocks = {"settlement": MOCK, "email": MOCK, "sms": MOCK} if demo else {}
    return mocks | {name: factory for name in PORTS if (factory := getattr(settings, name))}


async def _start(stack: AsyncExitStack, name: str, factory: str, context: ServiceContext) -> Any:
    """Call a factory; await its result and enter it, if it takes that."""
    setting = _setting(name, factory)
    make = _import_factory(name, factory)
    try:
        async with asyncio.timeout(START_S_MAX):
            service = make(context)
            if inspect.isawaitable(service):
                service = await service
            if isinstance(service, AbstractAsyncContextManager):
                manager, service = service, await service.__aenter__()
                stack.push_async_exit(partial(_leave, setting, manager))
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{setting}: {_one_line(error)}") from error
    methods = [method for method in vars(PORTS[name]) if not method.startswith("_")]
    lacking = [method for method in methods if not callable(getattr(service, method, None))]
    if lacking or inspect.isclass(service):
        made = f"the class {service.__name__}" if inspect.isclass(service) else type(service).__name__
        problem = f"which has no {', '.join(lacking)}" if lacking else "not an instance of it"
        raise ConfigurationError(f"{setting}: the factory returned {made}, {problem}")
    return service


async def _leave(setting: str, manager: AbstractAsyncContextManager[Any], *_: object) -> None:
    """Leave the context of a plug-in. A failure is logged: the other contexts still have to be left."""
    try:
        async with asyncio.timeout(LEAVE_S_MAX):
            await manager.__aexit__(None, None, None)
    except Exception:
        logger.exception("%s: it could not be closed", setting)


def _import_factory(name: str, factory: str) -> Callable[[ServiceContext], Any]:
    setting = _setting(name, factory)
    module, _, attribute = factory.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # behind all else; its .env has named the factory, so it is trusted already
    try:
        found = attrgetter(attribute)(importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{setting}: {_one_line(error)}") from error
    if not callable(found):
        raise ConfigurationError(f"{setting}: is of type {type(found).__name__}, which cannot be called")
    make: Callable[[ServiceContext], Any] = found
    return make


def _make_mock(name: str, store: Store, *, demo: bool) -> SettlementService | Channel | Verifier:
    if name == "settlement":
        return MockSettlementService(store)
    return FixedCode(MOCK_CODE) if name == "verifier" else MockChannel(store, keeps_codes=demo)


def _make_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
        timeout=aiohttp.ClientTimeout(total=REQUEST_S_MAX, sock_connect=CONNECT_S_MAX),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _setting(name: str, factory: str) -> str:
    return f"TECHNOPAY_{name.upper()}={factory}"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:ERROR_LENGTH_MAX]}".removesuffix(": ")
