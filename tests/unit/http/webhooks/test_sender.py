"""The sender of webhooks: which addresses it connects to, and what it sends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from technopay.http.webhooks import HttpWebhookSender
from technopay.http.webhooks import sender as module

TIMEOUT_S = 5.0
HEADERS = {"webhook-id": "evt_001-0", "Content-Type": "application/json"}


@dataclass
class Answers(AbstractResolver):
    """A resolver with an answer for each call; the last one is repeated."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            {"hostname": host, "host": each, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST,
             "family": socket.AF_INET6 if ":" in each else socket.AF_INET}
            for each in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Close nothing."""


@dataclass
class Endpoint:
    """A local server that records requests."""

    url: str
    port: int
    requests: list[tuple[str, dict[str, str], bytes]]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    requests: list[tuple[str, dict[str, str], bytes]] = []
    ended = asyncio.Event()

    async def receive(request: web.Request) -> web.StreamResponse:
        requests.append((request.path, dict(request.headers), await request.read()))
        if request.path == "/half":
            half = web.StreamResponse()
            await half.prepare(request)
        if request.path in ("/half", "/silent"):
            await ended.wait()
        if request.path == "/moved":
            raise web.HTTPTemporaryRedirect("/other")
        body = b"x" * 5_000 if request.path == "/long" else b"\xff\x00ok"
        return web.Response(status=200, body=body, headers={"Set-Cookie": "a=b"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    async with TestServer(app) as server:
        yield Endpoint(str(server.make_url("/hook")), server.port or 0, requests)
        ended.set()


async def test_an_event_is_posted_as_it_is_and_the_beginning_of_the_answer_returned(endpoint: Endpoint) -> None:
    async with HttpWebhookSender(private="allow") as sender:
        answer = await sender.send(endpoint.url, HEADERS, b'{"id": 1}', TIMEOUT_S)
        assert (answer.status, answer.text) == (200, "\ufffd\x00ok")
        await sender.send(endpoint.url, HEADERS, b'{"id": 1}', TIMEOUT_S)
        long = await sender.send(endpoint.url.replace("/hook", "/long"), HEADERS, b"", TIMEOUT_S)
        assert long.text == "x" * 1_024
    (path, headers, body), (_, again, _), _ = endpoint.requests
    assert (path, body, headers["webhook-id"]) == ("/hook", b'{"id": 1}', "evt_001-0")
    assert "Cookie" not in again


async def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    async with HttpWebhookSender(private="allow") as sender:
        answer = await sender.send(endpoint.url.replace("/hook", "/moved"), HEADERS, b"", TIMEOUT_S)
    assert answer.status == 307
    assert [path for path, _, _ in endpoint.requests] == ["/moved"]


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:{port}/", "http://127.0.0.1:{port}/", "https://[::1]:{port}/"]
)
async def test_an_address_in_a_url_is_checked_at_every_try(endpoint: Endpoint, url: str) -> None:
    async with HttpWebhookSender() as sender:
        with pytest.raises(OSError, match="the URL has to be"):
            await sender.send(url.format(port=endpoint.port), HEADERS, b"", TIMEOUT_S)
    assert endpoint.requests == []


async def connected_to(resolver: Answers, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Send to a name; return the addresses that a connection was tried to."""
    tried: list[str] = []

    async def start_connection(addr_infos: Sequence[Any], **_: Any) -> socket.socket:
        tried.extend(each[4][0] for each in addr_infos)
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", start_connection)
    async with HttpWebhookSender(resolver=resolver) as sender:
        with pytest.raises(OSError, match=r"nobody is there|no address of the public internet"):
            await sender.send(f"https://example.com:{endpoint.port}/", HEADERS, b"", TIMEOUT_S)
    return tried


async def test_only_the_checked_addresses_of_a_name_are_connected_to(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = Answers([["127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2606:4700::1111"]])
    assert await connected_to(mixed, endpoint, monkeypatch) == ["8.8.8.8", "2606:4700::1111"]
    assert await connected_to(Answers([["10.0.0.1", "fe80::1%eth0"]]), endpoint, monkeypatch) == []
    assert endpoint.requests == []


async def test_an_answer_that_changes_between_check_and_connection_is_of_no_use(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name of an attacker: public when it is checked, private when it is resolved again.
    rebinding = Answers([["8.8.8.8"], ["127.0.0.1"]])
    assert await connected_to(rebinding, endpoint, monkeypatch) == ["8.8.8.8"]
    assert rebinding.asked == ["example.com"], "it is resolved once for a connection"
    assert await connected_to(rebinding, endpoint, monkeypatch) == [], "and checked at the next try"


async def test_an_answer_counts_without_the_rest_of_its_body(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeout_s = 0.2
    monkeypatch.setattr(module, "ANSWER_S_MAX", 2 * timeout_s)
    async with HttpWebhookSender(private="allow") as sender:
        answer = await sender.send(endpoint.url.replace("/hook", "/half"), HEADERS, b"", timeout_s)
        assert (answer.status, answer.text) == (200, "")
        with pytest.raises(TimeoutError):
            await sender.send(endpoint.url.replace("/hook", "/silent"), HEADERS, b"", timeout_s)


async def test_an_endpoint_that_cannot_be_reached_is_named(endpoint: Endpoint) -> None:
    async with HttpWebhookSender(private="allow") as sender:
        with pytest.raises(OSError, match="Connect call failed"):
            await sender.send("http://127.0.0.1:1/", HEADERS, b"", TIMEOUT_S)
    with pytest.raises(RuntimeError, match="not open"):
        await sender.send(endpoint.url, HEADERS, b"", TIMEOUT_S)
