"""A receiver of webhooks, which verifies each with the library that receivers use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook


class WebhookReceiver:
    """Keeps the verified events; `script` has the responses of the next requests, else it replies 204."""

    def __init__(self, secret: str) -> None:
        self.url = ""
        self.events: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.script: list[web.Response | None] = []
        """None: no response."""
        self.changed = asyncio.Event()
        self._verifier = Webhook(secret)

    async def handle(self, request: web.Request) -> web.Response:
        assert request.method == "POST"
        assert request.content_type == "application/json"
        event = self._verifier.verify(await request.read(), dict(request.headers))
        assert request.headers["webhook-id"] == event["id"]
        self.events.append(event)
        self.paths.append(request.path)
        self.changed.set()
        response = self.script.pop(0) if self.script else web.Response(status=204)
        if response is None:
            await asyncio.sleep(3_600)
        assert response is not None
        return response

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Wait for a number of events."""
        async with asyncio.timeout(30):
            while len(self.events) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.events


@asynccontextmanager
async def running_receiver(secret: str) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(secret)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver
