"""The life of the process that looks after workers: it has the store and the port, and serves nothing."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily
from pydantic import SecretStr

from technopay.cli.logs import LogCollector, set_up_logging
from technopay.cli.process import ENDING, catch_signals, fit_connections, say
from technopay.cli.seed import seed
from technopay.cli.service import engine_settings, make_store, report_live_codes, settle_sign_in, show_url, warn
from technopay.cli.settings import Settings
from technopay.cli.workers.orders import Orders
from technopay.cli.workers.siblings import SUPERVISOR, Siblings
from technopay.cli.workers.supervisor import Supervisor
from technopay.engine import Engine
from technopay.http.listening import listen
from technopay.http.team import write_families
from technopay.storage.private import require_socket_path


async def serve_together(settings: Settings, *, initialise: bool, demo: bool) -> None:
    """Serve with several workers until a signal comes.

    Raises:
        WorkerFailed: they cannot serve; says why.

    """
    starting = asyncio.current_task()
    assert starting is not None
    # What was started by then has to end, too.
    for each in ENDING:
        if each != signal.SIGINT and signal.getsignal(each) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(each, starting.cancel)
    set_up_logging(settings.log_level, settings.log_format)
    settings = fit_connections(settings)
    count = settings.workers
    secret, _ = settle_sign_in(settings, demo=demo)
    with tempfile.TemporaryDirectory(prefix="technopay-workers-") as name, ExitStack() as listening:
        folder = Path(name)
        require_socket_path(folder / SUPERVISOR)
        sockets = [listening.enter_context(each) for each in await listen(settings.host, settings.port)]
        async with _running_store(settings, secret, initialise=initialise, demo=demo) as store_url:
            values = settle(settings, secret, store_url, folder).reveal()
            descriptors = tuple(each.fileno() for each in sockets)
            orders = [
                Orders(number=number, count=count, sockets=descriptors, folder=folder, demo=demo, values=values)
                for number in range(count)
            ]
            address = sockets[0].getsockname()
            async with Supervisor(orders) as supervisor, _telling(folder, supervisor, count):
                stopped = catch_signals()
                warn(settings, demo=demo)
                say(f"technopay: serving on {show_url(str(address[0]), int(address[1]))}")
                await supervisor.wait_unless_failed(stopped)
                say("technopay: draining")
                # From now on only workers listen, while they drain: nobody waits in a line that nobody serves.
                listening.close()


@asynccontextmanager
async def _running_store(
    settings: Settings, secret: str, *, initialise: bool, demo: bool
) -> AsyncIterator[str]:
    """Have the store ready for workers until the block is left; answer where it is."""
    async with make_store(settings, initialise=initialise, demo=demo) as store:
        if demo and await store.mark_demo():
            async with Engine(store, engine_settings(settings, secret, demo=True)) as engine:
                await seed(engine)
            await store.mark_seeded()
        await report_live_codes(store, settings, secret)
        assert store.url is not None
        yield store.url


def settle(settings: Settings, secret: str, store_url: str, folder: Path) -> Settings:
    """Answer settings by which every worker serves alike, also one that is started when files have changed."""
    settled: dict[str, object] = {"secret": SecretStr(secret), "redis_url": store_url}
    if settings.redis_url is None:
        settled["durability"] = "always"
    if settings.token_public_key_file:
        kept = folder / "token-keys.pem"
        kept.write_bytes(settings.token_public_key_file.read_bytes())
        settled["token_public_key_file"] = kept
    return settings.model_copy(update=settled)


@asynccontextmanager
async def _telling(folder: Path, supervisor: Supervisor, count: int) -> AsyncIterator[None]:
    """Tell workers who are asked for metrics what only the supervisor knows, until the block is left."""
    process = ProcessCollector(registry=None)

    def tell() -> bytes:
        restarts = CounterMetricFamily(
            "technopay_worker_restarts", "Workers that ended and were started again.", labels=["worker"]
        )
        for number in range(count):
            restarts.add_metric([str(number)], supervisor.restarts[number])
        return write_families([*process.collect(), *LogCollector().collect(), restarts])

    async with Siblings(folder, SUPERVISOR, count).telling(tell):
        yield
