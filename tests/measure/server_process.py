"""A server in a process of its own, for measurements: `python -m measure.server_process KIND URL`.

The kind `bare` is an aiohttp handler that reads the body and returns as many bytes; `quiet` is technopay
without logs and metrics, `watched` with both. `full` is watched and refuses every request.
It prints its address, then its processor time for every line on its standard input, and ends with that.
"""

import asyncio
import sys
import time

from aiohttp import web

from technopay.cli.bench.environment import SECRET, CodeCollector, ImmediateSettlement, lax_settings
from technopay.cli.logs import set_up_logging
from technopay.cli.process import run_loop
from technopay.engine import Engine
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.http.server.limits import ServerLimits
from technopay.http.server.serving import serving
from technopay.storage import RedisStore

ANSWER_BYTES = 760
"""The length of a confirmed payment in JSON."""


async def serve_bare() -> None:
    """Serve the handler of the comparison."""
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
    await _report_and_wait(f"http://{host}:{port}")
    await runner.cleanup()


async def serve_technopay(url: str, *, is_watched: bool, limits: ServerLimits) -> None:
    """Serve technopay, settling at once, on a running store."""
    codes = CodeCollector()
    observer = set_up_logging("info", "json") if is_watched else None
    async with (
        RedisStore.connect(url) as store,
        Engine(
            store,
            lax_settings(),
            settlement_service=ImmediateSettlement(),
            channels={"email": codes, "sms": codes},
        ) as engine,
    ):
        sign_in = TokenAuthenticator(SECRET)
        app = create_app(engine, sign_in, limits=limits, observer=observer, has_metrics=is_watched)
        async with serving(app, "127.0.0.1", 0, limits=limits) as (host, port):
            await _report_and_wait(f"http://{host}:{port}")


async def _report_and_wait(address: str) -> None:
    print(address, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, _report_used_time)


def _report_used_time() -> None:
    """Print the processor time of this process for every line of input."""
    for _ in sys.stdin:
        print(time.process_time(), flush=True)


if __name__ == "__main__":
    kind, store_url = sys.argv[1:]
    if kind == "bare":
        run_loop(serve_bare())
    else:
        limits = ServerLimits(requests_max=0) if kind == "full" else ServerLimits()
        run_loop(serve_technopay(store_url, is_watched=kind != "quiet", limits=limits))
