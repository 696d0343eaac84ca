"""What processes that serve together tell one another: each its own metrics, at a unix socket of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ANSWER_S_MAX = 1.0
SUPERVISOR = "supervisor"
END = b"\n"
"""Who dies while it tells something has not told it."""


class Siblings:
    """The processes that serve together, as one of them sees them. The folder is private to all of them."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._folder = folder
        self._count = count
        self.name = name

    async def ask(self) -> dict[str, bytes | None]:
        """Answer what all others tell, in bounded time; None for one that does not answer."""
        names = [*map(str, range(self._count)), SUPERVISOR]
        names.remove(self.name)
        return dict(zip(names, await asyncio.gather(*map(self._ask, names)), strict=True))

    @asynccontextmanager
    async def telling(self, tell: Callable[[], bytes]) -> AsyncIterator[None]:
        """Tell something to whoever asks, until the block is left."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                writer.write(tell() + END)
                await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(answer, self._folder / self.name)
        try:
            yield
        finally:
            server.close()

    async def _ask(self, name: str) -> bytes | None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S_MAX):
                reader, writer = await asyncio.open_unix_connection(self._folder / name)
                try:
                    told = await reader.read()
                finally:
                    writer.close()
                return told.removesuffix(END) if told.endswith(END) else None
        return None
