"""A server in a process of its own, to be measured: `python -m technopay.cli.bench.served KIND URL`.

The kind `bare` is an aiohttp handler that reads the body and answers as many bytes; `quiet` is technopay
without logs and metrics, `watched` with both. `full` is watched and takes no request any more, `crowded` no
connection. It prints its address, then the processor time that it has used for every line that comes in, and
ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web

from technopay.cli.bench.ground import SECRET, ImmediateSettlement, Phones, lax_settings
from technopay.cli.logs import set_up_logging
from technopay.cli.process import run_loop
from technopay.engine import Engine
from technopay.http import Bounds, TokenAuthenticator, create_app, serving
from technopay.http.connection import RESERVE
from technopay.storage import RedisStore

ANSWER_BYTES = 760
"""The length of a confirmed payment in JSON."""


async def serve_bare() -> None:
    """Serve the handler that everything is compared with."""
    answer = b'"%s"' % (b"x" * (ANSWER_BYTES - 2))

    async def confirm(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answer, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/payments/{payment_id}/confirm", confirm)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    await _tell_and_wait(f"http://{host}:{port}")
    await runner.cleanup()


async def serve_technopay(url: str, *, is_watched: bool, bounds: Bounds) -> None:
    """Serve technopay, settling at once, on a store that runs already."""
    phones = Phones()
    on_request = set_up_logging("info", "json") if is_watched else None
    async with (
        RedisStore.connect(url) as store,
        Engine(
            store,
            lax_settings(),
            settlement_service=ImmediateSettlement(),
            channels={"email": phones, "sms": phones},
        ) as engine,
        serving(
            create_app(
                engine,
                TokenAuthenticator(SECRET),
                bounds=bounds,
                on_request=on_request,
                has_metrics=is_watched,
            ),
            "127.0.0.1",
            0,
            bounds=bounds,
        ) as (host, port),
    ):
        await _tell_and_wait(f"http://{host}:{port}")


async def _tell_and_wait(address: str) -> None:
    print(address, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, _tell_used_time)


def _tell_used_time() -> None:
    """Tell the processor time that this process has used so far, whenever a line comes in."""
    for _ in sys.stdin:
        print(time.process_time(), flush=True)


BOUNDS = {"full": Bounds(requests_max=0), "crowded": Bounds(connections_max=-RESERVE)}
"""Of the kinds that refuse everything."""


if __name__ == "__main__":
    kind, store_url = sys.argv[1:]
    if kind == "bare":
        run_loop(serve_bare())
    else:
        run_loop(serve_technopay(store_url, is_watched=kind != "quiet", bounds=BOUNDS.get(kind, Bounds())))
