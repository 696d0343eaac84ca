"""A cheap client: on a machine of two cores, the load has to be on the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


def write_request(method: str, path: str, token: str, body: str = "") -> bytes:
    """Write a request with the headers that usual clients send."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nUser-Agent: technopay-bench\r\n"
    )
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


@asynccontextmanager
async def connected(url: str, connections: int) -> AsyncIterator[Sequence["Line"]]:
    """Open connections to a server and close them at the end."""
    lines = [await open_line(url) for _ in range(connections)]
    yield lines
    for line in lines:
        line.transport.close()


async def send_all(lines: Sequence["Line"], requests: Sequence[bytes], status: int) -> list[bytes]:
    """Send all requests, one at a time on each connection; return the bodies in their order."""
    answers = [b""] * len(requests)
    waiting = iter(enumerate(requests))
    await asyncio.gather(*(line.send(waiting, answers, status) for line in lines))
    return answers


async def open_line(url: str) -> "Line":
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(Line, str(address.hostname), address.port or 0)
    return line


class Line(asyncio.Protocol):
    """One connection: sends its next request as soon as it has the reply to the one before."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._received = b""

    async def send_one(self, request: bytes, status: int) -> None:
        await self.send(iter([(0, request)]), [b""], status)

    async def send(self, waiting: Iterator[tuple[int, bytes]], answers: list[bytes], status: int) -> None:
        """Send requests as long as some wait, and keep the bodies of the replies."""
        self._waiting, self._answers, self._status = waiting, answers, b"HTTP/1.1 %d " % status
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send_next()
        await self._done

    def data_received(self, data: bytes) -> None:
        """Take a piece of a reply."""
        self._received += data
        head, end, body = self._received.partition(HEAD_END)
        if not end or len(body) < int(head.lower().partition(LENGTH)[2].partition(b"\r\n")[0]):
            return
        if head.startswith(self._status):
            self._answers[self._place], self._received = body, b""
            self._send_next()
        else:
            self._done.set_exception(AssertionError(self._received.decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Before the last reply this is an error."""
        if not self._done.done():
            self._done.set_exception(ConnectionError(f"the server hung up: {exc!r}"))

    def _send_next(self) -> None:
        self._place, request = next(self._waiting, (0, b""))
        if request:
            self.transport.write(request)
        else:
            self._done.set_result(None)
