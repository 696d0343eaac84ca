"""Answers that leave piece by piece: long ones, and those that go on for as long as somebody listens."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from aiohttp import web

from technopay.engine import OutcomeUnknown, StoreUnavailable
from technopay.http.admission import Admission
from technopay.http.answer import Answer, headers_for
from technopay.http.bounds import Bounds
from technopay.http.routes import Stream
from technopay.http.seen import Seen

logger = logging.getLogger(__name__)

GONE_INTERVAL_S = 0.5
PIECE_BYTES = 64 * 1024


async def send_in_pieces(request: web.Request, seen: Seen, answered: Answer) -> web.StreamResponse:
    """Send a long body piece by piece, each when the one before is taken: readers who stay away hold little."""
    headers = {**headers_for(seen, answered.media), **answered.headers}
    response = web.StreamResponse(status=answered.status, headers=headers)
    response.content_length = len(answered.body)
    await response.prepare(request)
    if request.method != "HEAD":
        for begin in range(0, len(answered.body), PIECE_BYTES):
            await response.write(answered.body[begin : begin + PIECE_BYTES])
    return response


async def send_stream(
    request: web.Request, seen: Seen, stream: Stream, admission: Admission, bounds: Bounds
) -> web.StreamResponse:
    """Send a stream until it or its time ends, the client leaves or is too slow, or the server drains."""
    response = web.StreamResponse(headers={**headers_for(seen, stream.media), **stream.headers})

    async def pump() -> None:
        await response.prepare(request)
        if request.method == "HEAD":
            return
        async for chunk in stream.chunks:
            async with asyncio.timeout(bounds.write_deadline_s):
                await response.write(chunk)

    async with aclosing(stream.chunks):
        pumping = asyncio.create_task(pump())
        tasks = {
            pumping,
            asyncio.create_task(admission.wait_until_draining()),
            asyncio.create_task(_wait_until_gone(request)),
        }
        try:
            await asyncio.wait(tasks, timeout=bounds.stream_s_max, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    error = None if pumping.cancelled() else pumping.exception()
    # Of a store that is gone, the log says so once.
    if error and not isinstance(error, TimeoutError | ConnectionError | StoreUnavailable | OutcomeUnknown):
        logger.error("the stream of request %s crashed", seen.request_id, exc_info=error)
    # A polite end would say that this was all, and it would wait for a reader who does not read.
    if error and request.transport:
        request.transport.abort()
    return response


async def _wait_until_gone(request: web.Request) -> None:
    """Wait until the client has left: a stream without news would not find out before its next ping."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(GONE_INTERVAL_S)
