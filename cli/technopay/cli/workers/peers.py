"""The processes that serve together: each exports its metrics to the others, on a unix socket of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

REPLY_S_MAX = 1.0
PARENT = "supervisor"
END = b"\n"
"""An export without it was cut off, by the death of its process."""


class Peers:
    """The other processes, for one of them. The folder is private to all of them."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._folder = folder
        self._count = count
        self.name = name

    async def collect(self) -> dict[str, bytes | None]:
        """Return the exports of all others, in bounded time; None for one without a reply."""
        names = [*map(str, range(self._count)), PARENT]
        names.remove(self.name)
        return dict(zip(names, await asyncio.gather(*map(self._read, names)), strict=True))

    @asynccontextmanager
    async def exporting(self, export: Callable[[], bytes]) -> AsyncIterator[None]:
        """Send an export to every peer that connects, until the block ends."""

        async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                writer.write(export() + END)
                await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(send, self._folder / self.name)
        try:
            yield
        finally:
            server.close()

    async def _read(self, name: str) -> bytes | None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(REPLY_S_MAX):
                reader, writer = await asyncio.open_unix_connection(self._folder / name)
                try:
                    export = await reader.read()
                finally:
                    writer.close()
                return export.removesuffix(END) if export.endswith(END) else None
        return None
