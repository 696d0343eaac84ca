"""Streams: their end closes their source, and only a regular end looks complete."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.engine_setup import SECRET

from technopay.engine import Engine
from technopay.http.api.route import Call, Route
from technopay.http.api.streams import Stream
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator


class Pieces:
    """Two pieces, and then a call of the test's."""

    def __init__(self, then: Any) -> None:
        self._then = then
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"one,"
        yield b"two."
        await self._then()

    async def aclose(self) -> None:
        self.closed += 1


async def end() -> None:
    """End the stream."""


async def crash() -> None:
    raise ZeroDivisionError


def client_of(pieces: Pieces) -> TestClient[web.Request, web.Application]:
    async def stream(_: Call) -> Stream:
        return Stream(pieces, "text/plain", {"X-More": "yes"})

    route = Route("GET", "/pieces", None, stream, media="text/plain")
    engine: Engine = SimpleNamespace()  # type: ignore[assignment]
    app = create_app(engine, TokenAuthenticator(SECRET), more_routes=[route])
    return TestClient(TestServer(app))


async def test_a_stream_that_ends_is_complete_and_one_that_crashes_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pieces = Pieces(end)
    async with client_of(pieces) as client, client.get("/pieces") as response:
        assert await response.text() == "one,two."
        assert (response.headers["X-More"], response.content_type) == ("yes", "text/plain")
    crashing = Pieces(crash)
    async with client_of(crashing) as client, client.get("/pieces") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.text()
    assert (pieces.closed, crashing.closed) == (1, 1)
    assert "crashed" in caplog.text
