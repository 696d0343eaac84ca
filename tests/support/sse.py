"""A client of the stream of events, which reads it as the standard says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse
from support.http import Api

PATH = "/v1/events"
WAIT_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """One event."""

    id: str
    type: str
    data: dict[str, Any]

    @property
    def change(self) -> tuple[str, int]:
        """What happened, and which version that made."""
        return self.type, self.data["version"]


@dataclass(slots=True)
class Listener:
    """An open stream."""

    response: ClientResponse
    begins_after: str
    pings: int = 0
    _said: dict[str, str] = field(default_factory=dict)

    async def next(self) -> Told | None:
        """Wait for the next event; None when the stream ended, as it should."""
        while line := await self._read_line():
            name, _, value = line.rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if value:
                    self.pings += 1
                case "" if self._said:
                    said, self._said = self._said, {}
                    return Told(said["id"], said["event"], json.loads(said["data"]))
                case "id" | "event" | "data":
                    assert name not in self._said
                    self._said[name] = value
                case _:
                    assert not name, line
        return None

    async def take(self, count: int) -> list[Told]:
        """Wait for so many events."""
        told = [await self.next() for _ in range(count)]
        assert None not in told, "the stream ended"
        return [each for each in told if each]

    async def ping(self) -> None:
        """Wait for the next sign of life; there must be no event before it."""
        seen = self.pings
        while self.pings == seen:
            line = await self._read_line()
            assert line.startswith((":", "retry:", "\n")), line
            self.pings += line.startswith(":")

    async def _read_line(self) -> str:
        async with asyncio.timeout(WAIT_S_MAX):
            return (await self.response.content.readline()).decode()


@asynccontextmanager
async def listening(api: Api, user: str = "alice", after: str | None = None) -> AsyncIterator[Listener]:
    """Open a stream."""
    headers = {"Authorization": f"Bearer {api.token(user)}"}
    if after is not None:
        headers["Last-Event-ID"] = after
    url = api.client.server.make_url(PATH)
    async with api.client.session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        listener = Listener(response, "")
        assert await listener._read_line() == "retry: 1000\n"
        name, _, listener.begins_after = (await listener._read_line()).rstrip("\n").partition(": ")
        assert name == "id"
        yield listener
