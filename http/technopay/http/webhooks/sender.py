"""Sends webhooks: one POST, only to addresses that were checked, without redirects, cookies or proxies."""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from technopay.engine.ports import WebhookAnswer
from technopay.engine.webhooks.addresses import PrivateAddresses, address_of, is_public, url_error

CONNECTIONS_MAX = 512
"""Of all endpoints together: the engine bounds those of each one."""
IDLE_S = 15.0
ANSWER_BYTES_MAX = 1_024
ANSWER_S_MAX = 1.0
"""The time for the body of an answer: its status has decided already."""
HEADER_BYTES_MAX = 8_190
LOOKUPS_MAX = 16
"""Names that are resolved at a time."""
NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class RefusedAddressError(OSError):
    """Raised for an endpoint at no address of the public internet."""


class CheckedResolver(AbstractResolver):
    """Resolves a name, and returns only the addresses that a webhook may have.

    The connector connects to no others: it does not resolve again. An address in a URL is checked by `send`.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [each for each in found if _is_allowed(each["host"])]
        if not allowed:
            raise RefusedAddressError("the name has no address of the public internet")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


class SystemResolver(AbstractResolver):
    """Resolves names by the system, in threads of its own.

    A name whose server is silent holds a thread for long. It is one thread for all that wait for this name, and
    none of those in which the program resolves all other names.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, "webhook-names")
        self._running: dict[tuple[str, int, int], asyncio.Future[list[Any]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        key = (host, port, family)
        lookup = self._running.get(key)
        if lookup is None:
            find = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
            lookup = self._running[key] = asyncio.get_running_loop().run_in_executor(self._threads, find)
            lookup.add_done_callback(partial(self._end, key))
        return [
            ResolveResult(
                hostname=host, host=address[0], port=address[1], family=found, proto=protocol, flags=NUMERIC
            )
            for found, _, protocol, _, address in await asyncio.shield(lookup)
        ]

    def _end(self, key: tuple[str, int, int], lookup: asyncio.Future[list[Any]]) -> None:
        del self._running[key]
        if not lookup.cancelled():
            lookup.exception()  # those that waited may have left

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class HttpWebhookSender:
    """Sends events to endpoints; use it in `async with`, around the engine.

    `private` has to be that of the engine's settings. `resolver` takes the place of the system's.
    """

    def __init__(
        self, *, private: PrivateAddresses = "refuse", resolver: AbstractResolver | None = None
    ) -> None:
        self._private = private
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver = self._resolver or SystemResolver()
        connector = aiohttp.TCPConnector(
            resolver=resolver if self._private == "allow" else CheckedResolver(resolver),
            use_dns_cache=False,
            limit=CONNECTIONS_MAX,
            keepalive_timeout=IDLE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> WebhookAnswer:
        """Send an event once; raise TimeoutError without a status within `timeout_s`."""
        if self._session is None:
            raise RuntimeError("the sender is not open: use it in `async with`")
        if wrong := url_error(url, self._private):
            raise RefusedAddressError(f"the URL {wrong}")
        try:
            async with (
                asyncio.timeout(timeout_s) as timeout,
                self._session.post(
                    URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                timeout.reschedule(None)
                answer = b""
                with suppress(TimeoutError, aiohttp.ClientError):
                    async with asyncio.timeout(ANSWER_S_MAX):
                        answer = await response.content.read(ANSWER_BYTES_MAX)
                return WebhookAnswer(response.status, answer.decode(errors="replace"))
        except aiohttp.ClientConnectorError as error:
            raise error.os_error from None


def _is_allowed(host: str) -> bool:
    address = address_of(host)
    return address is not None and is_public(address)
