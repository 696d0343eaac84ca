"""Plug-ins: the services that settings name, by a factory `package.module:factory` or as mock, smtp, http."""

import asyncio
import importlib
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import aiohttp

from technopay.cli.service_variables import MOCK
from technopay.cli.settings import ConfigurationError, Settings
from technopay.engine.models import Method
from technopay.engine.ports import Channel, Clock, OutgoingMessage, SettlementService, Store, Verifier
from technopay.engine.system import SystemClock
from technopay.engine.testing.doubles import FixedCode
from technopay.engine.testing.mocks import MockChannel, MockSettlementService, require_live
from technopay.http.services.settlement import HttpSettlementService
from technopay.http.services.sms import HttpSmsChannel

logger = logging.getLogger(__name__)

PORTS: Mapping[str, type] = {
    "settlement": SettlementService, "email": Channel, "sms": Channel, "verifier": Verifier,
}  # fmt: skip
METHODS: tuple[Method, ...] = ("email", "sms")
MOCK_CODE = "000000"
"""The code of every payment with the mock verifier."""
CONNECTIONS_MAX = 64
"""Connections of all plug-ins together: they count among the files that a process opens besides its clients."""
REQUEST_S_MAX = 10.0
CONNECT_S_MAX = 3.0
START_S_MAX = 30.0
LEAVE_S_MAX = 5.0
ERROR_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The argument of every factory. No secret of technopay is in it."""

    clock: Clock
    session: aiohttp.ClientSession
    """For HTTP, with bounded time-outs. It is closed after the engine has drained."""
    variables: Mapping[str, str] = field(repr=False)
    """The plug-in's own settings: `TECHNOPAY_SETTLEMENT_URL` is `URL` for the settlement service."""


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
            "factory, or is `http` (settlement, SMS), `smtp` (e-mail), or `mock` to move no money and send no "
            "message on purpose; --demo has mocks by default"
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
    setting = setting_of(name, factory)
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


def make_smtp(context: ServiceContext) -> Channel:
    from technopay.engine.notifications.smtp import SmtpChannel

    return SmtpChannel(context.variables["URL"], context.variables["FROM"])


def make_http_settlement(context: ServiceContext) -> SettlementService:
    return HttpSettlementService(context.session, context.variables["URL"], context.variables["SECRET"])


def make_http_sms(context: ServiceContext) -> Channel:
    return HttpSmsChannel(context.session, context.variables["URL"], context.variables["SECRET"])


REAL_FACTORIES: Mapping[tuple[str, str], Callable[[ServiceContext], Any]] = {
    ("settlement", "http"): make_http_settlement,
    ("email", "smtp"): make_smtp,
    ("sms", "http"): make_http_sms,
}
"""The factories of our own services, by service and name."""


def _import_factory(name: str, factory: str) -> Callable[[ServiceContext], Any]:
    setting = setting_of(name, factory)
    if real := REAL_FACTORIES.get((name, factory)):
        if factory == "smtp" and find_spec("aiosmtplib") is None:
            raise ConfigurationError(f"{setting} needs aiosmtplib: pip install 'technopay[smtp]'")
        return real
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
        # A service that is silent must not keep the connections of the others.
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_MAX // 2),
        timeout=aiohttp.ClientTimeout(total=REQUEST_S_MAX, sock_connect=CONNECT_S_MAX),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def setting_of(name: str, factory: str) -> str:
    return f"TECHNOPAY_{name.upper()}={factory}"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:ERROR_LENGTH_MAX]}".removesuffix(": ")
