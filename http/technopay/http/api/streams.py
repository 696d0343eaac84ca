"""Responses that are sent in pieces: long bodies, and streams that last as long as their client reads them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from technopay.engine import OutcomeUnknown, StoreUnavailable
from technopay.http.access_record import RequestRecord
from technopay.http.responses import Response, common_headers
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit

logger = logging.getLogger(__name__)

GONE_INTERVAL_S = 0.5
PIECE_BYTES = 64 * 1024


class Chunks(Protocol):
    """The chunks of a stream. `aclose` is called in any case, also before the first chunk."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stream:
    """A response that goes on until its chunks end, the client disconnects or the server drains."""

    chunks: Chunks
    media: str
    headers: Mapping[str, str] = field(default_factory=dict)


async def send_in_pieces(request: web.Request, record: RequestRecord, response: Response) -> web.StreamResponse:
    """Send a long body piece by piece, so that a client that does not read it occupies little memory."""
    headers = {**common_headers(record, response.media), **response.headers}
    sent = web.StreamResponse(status=response.status, headers=headers)
    sent.content_length = len(response.body)
    await sent.prepare(request)
    if request.method != "HEAD":
        for start in range(0, len(response.body), PIECE_BYTES):
            await sent.write(response.body[start : start + PIECE_BYTES])
    return sent


async def send_stream(
    request: web.Request,
    record: RequestRecord,
    stream: Stream,
    concurrency: ConcurrencyLimit,
    limits: ServerLimits,
) -> web.StreamResponse:
    """Send a stream until it or its time ends, the client disconnects or is too slow, or the server drains."""
    sent = web.StreamResponse(headers={**common_headers(record, stream.media), **stream.headers})

    async def pump() -> None:
        await sent.prepare(request)
        if request.method == "HEAD":
            return
        async for chunk in stream.chunks:
            async with asyncio.timeout(limits.write_deadline_s):
                await sent.write(chunk)

    async with aclosing(stream.chunks):
        pumping = asyncio.create_task(pump())
        tasks = {
            pumping,
            asyncio.create_task(concurrency.wait_until_draining()),
            asyncio.create_task(_wait_until_gone(request)),
        }
        try:
            await asyncio.wait(tasks, timeout=limits.stream_s_max, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    error = None if pumping.cancelled() else pumping.exception()
    # An unavailable store is logged once, elsewhere.
    if error and not isinstance(error, TimeoutError | ConnectionError | StoreUnavailable | OutcomeUnknown):
        logger.error("the stream of request %s crashed", record.request_id, exc_info=error)
    # A regular end would claim that the stream is complete, and would wait for a client that does not read.
    if error and request.transport:
        request.transport.abort()
    return sent


async def _wait_until_gone(request: web.Request) -> None:
    """Wait until the client has disconnected: a stream without events would notice at its next ping only."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(GONE_INTERVAL_S)
