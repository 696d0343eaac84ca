"""The parent of the workers: it has the store and the listening sockets, and serves nothing."""

import asyncio
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily
from pydantic import SecretStr

from technopay.cli.archive.archiving import NO_ARCHIVE
from technopay.cli.logs import LogCollector, set_up_logging
from technopay.cli.process import ENDING, catch_signals, fit_connections, say, say_address
from technopay.cli.service import (
    make_store,
    metrics_host,
    report_live_codes,
    require_configuration,
    seed_once,
    show_url,
    warn,
)
from technopay.cli.settings import Settings
from technopay.cli.workers.peers import PARENT, Peers
from technopay.cli.workers.supervisor import Supervisor, WorkerConfig
from technopay.http.metrics import write_families
from technopay.http.server.serving import listen
from technopay.storage.private_files import require_socket_path


async def serve_with_workers(settings: Settings, *, initialise: bool, demo: bool) -> None:
    """Serve until a signal comes; raise WorkerFailed if the workers cannot."""
    starting = asyncio.current_task()
    assert starting is not None
    # A signal during the start ends the processes that were started by then.
    for each in ENDING:
        if each != signal.SIGINT and signal.getsignal(each) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(each, starting.cancel)
    set_up_logging(settings.log_level, settings.log_format)
    settings = fit_connections(settings)
    count = settings.workers
    secret, _ = require_configuration(settings, demo=demo)
    with tempfile.TemporaryDirectory(prefix="technopay-workers-") as name, ExitStack() as listening:
        folder = Path(name)
        require_socket_path(folder / PARENT)
        sockets = [listening.enter_context(each) for each in await listen(settings.host, settings.port)]
        for_metrics: list[socket.socket] = []
        if settings.metrics_port is not None:
            for_metrics = await listen(metrics_host(settings), settings.metrics_port)
            for found in for_metrics:
                listening.enter_context(found)
        async with _running_store(settings, secret, initialise=initialise, demo=demo) as store_url:
            settled = settle(settings, secret, store_url, folder)
            descriptors = _descriptors(sockets), _descriptors(for_metrics)
            configs = [
                WorkerConfig(number, count, descriptors[0], folder, demo, settled, descriptors[1])
                for number in range(count)
            ]
            url, metrics_url = _url_of(sockets), _url_of(for_metrics) if for_metrics else None
            async with Supervisor(configs) as supervisor, _exporting(folder, supervisor, count):
                stopped = catch_signals()
                warn(settings, demo=demo)
                say_address(url, metrics_url)
                await supervisor.wait_unless_failed(stopped)
                say("technopay: draining")
                # Now only the draining workers listen: no client waits in a backlog that is not served.
                listening.close()


def _descriptors(sockets: Sequence[socket.socket]) -> tuple[int, ...]:
    return tuple(each.fileno() for each in sockets)


def _url_of(sockets: Sequence[socket.socket]) -> str:
    host, port, *_ = sockets[0].getsockname()
    return show_url(str(host), int(port))


@asynccontextmanager
async def _running_store(
    settings: Settings, secret: str, *, initialise: bool, demo: bool
) -> AsyncIterator[str]:
    """Prepare the store for workers; return its URL."""
    async with make_store(settings, initialise=initialise, demo=demo) as store:
        if demo:
            await seed_once(store, settings, secret)
        await report_live_codes(store, settings, secret)
        assert store.url is not None
        yield store.url


def settle(settings: Settings, secret: str, store_url: str, folder: Path) -> Settings:
    """Return the same settings for every worker, also for one that starts after files have changed."""
    settled: dict[str, object] = {"secret": SecretStr(secret), "redis_url": store_url}
    if settings.redis_url is None:
        settled["archive"] = settings.archive_location or NO_ARCHIVE
        settled["durability"] = "always"
    if settings.token_public_key_file:
        kept = folder / "token-keys.pem"
        kept.write_bytes(settings.token_public_key_file.read_bytes())
        settled["token_public_key_file"] = kept
    return settings.model_copy(update=settled)


@asynccontextmanager
async def _exporting(folder: Path, supervisor: Supervisor, count: int) -> AsyncIterator[None]:
    """Export the metrics of the parent to its workers, until the block ends."""
    process = ProcessCollector(registry=None)

    def export() -> bytes:
        restarts = CounterMetricFamily(
            "technopay_worker_restarts", "Workers that ended and were started again.", labels=["worker"]
        )
        for number in range(count):
            restarts.add_metric([str(number)], supervisor.restarts[number])
        return write_families([*process.collect(), *LogCollector().collect(), restarts])

    async with Peers(folder, PARENT, count).exporting(export):
        yield
