"""Supervises the workers: starts them, restarts them, and ends them all together."""

import asyncio
import json
import logging
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from technopay.cli.settings import Settings
from technopay.storage.backoff import Backoff
from technopay.storage.server.child_process import send_signal

logger = logging.getLogger(__name__)

START_S_MAX = 60.0
DELAY_S_MIN = 0.1
DELAY_S_MAX = 5.0
DRAIN_S_MAX = 30.0
"""Workers that drain for longer are killed: a service manager waits no longer, and the store ends last."""
WITHOUT_WORKERS_S_MAX = 10.0
"""Clients wait in the backlog while no worker serves. After so long, all ends, and they are refused."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a worker. It goes through a pipe, because it contains secrets."""

    number: int
    """From 0; a restarted worker keeps its number."""
    count: int
    """The number of workers."""
    sockets: tuple[int, ...]
    """Listening sockets, inherited as file descriptors."""
    folder: Path
    """The folder of the sockets for metrics."""
    demo: bool
    settings: Settings
    """As the parent read them: a worker reads neither the environment nor files."""
    metrics_sockets: tuple[int, ...] = ()
    """Listening sockets of the metrics, if they have an address of their own."""


class WorkerFailed(Exception):
    """Raised when workers cannot serve; one line says why."""


class Supervisor:
    """Keeps a worker running for each configuration."""

    def __init__(self, configs: Sequence[WorkerConfig]) -> None:
        self._configs = configs
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._serving: set[int] = set()
        self._known: set[int] = set()
        """Workers that served once: a wrong configuration shows at the first start."""
        self._served_at = asyncio.get_running_loop().time()
        self._all_serve = asyncio.Event()
        self._draining = asyncio.Event()
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keepers: list[asyncio.Task[None]] = []
        self.restarts: Counter[int] = Counter()

    async def __aenter__(self) -> Self:
        """Start all workers, and wait until they serve; raise WorkerFailed if one does not."""
        self._keepers = [asyncio.create_task(self._keep(each)) for each in self._configs]
        for keeper in self._keepers:
            keeper.add_done_callback(self._report_crash)
        try:
            await self.wait_unless_failed(self._all_serve)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Terminate all workers; kill those that do not end in time."""
        self._draining.set()
        try:
            await self._end_all()
        finally:
            for process in self._running.values():
                send_signal(process, signal.SIGKILL)
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def wait_unless_failed(self, event: asyncio.Event) -> None:
        """Wait for an event; raise WorkerFailed if workers cannot serve meanwhile."""
        waiting = asyncio.ensure_future(event.wait())
        futures: list[asyncio.Future[Any]] = [waiting, self._failure]
        try:
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._failure.done():
            raise WorkerFailed(self._failure.result())

    async def _end_all(self) -> None:
        running = dict(self._running)
        for process in running.values():
            send_signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                await asyncio.gather(*(process.wait() for process in running.values()))
        except TimeoutError:
            late = [number for number, process in running.items() if process.returncode is None]
            logger.error("workers %s have not ended after %g s; they are killed", late, DRAIN_S_MAX)

    async def _keep(self, config: WorkerConfig) -> None:
        """Run a worker, again and again, until the drain."""
        loop = asyncio.get_running_loop()
        number, backoff = config.number, Backoff(DELAY_S_MIN, DELAY_S_MAX)
        while not self._draining.is_set():
            started_at = loop.time()
            failure = await self._run(config)
            if self._draining.is_set():
                return
            is_hopeless = not self._serving and loop.time() - self._served_at > WITHOUT_WORKERS_S_MAX
            if number not in self._known or is_hopeless:
                self._fail(failure)
                return
            logger.error("worker %s: %s; it is started again", number, failure)
            self.restarts[number] += 1
            with suppress(TimeoutError):
                delay_s = backoff.delay_s(loop.time() - started_at)
                await asyncio.wait_for(self._draining.wait(), delay_s)

    async def _run(self, config: WorkerConfig) -> str:
        """Run a worker once, to its end; return the reason of its end."""
        number = config.number
        try:
            process = await _start(config)
        except OSError as error:
            return f"it does not start: {error}"
        self._running[number] = process
        if self._draining.is_set():
            send_signal(process, signal.SIGTERM)
        try:
            failure = await _read_report(process)
            if failure is None:
                self._worker_up(number)
            status = await process.wait()
        finally:
            del self._running[number]
            self._worker_down(number)
        return failure or f"it ended with status {status}"

    def _worker_up(self, number: int) -> None:
        if number in self._known:
            logger.warning("worker %s serves again", number)
        self._known.add(number)
        self._serving.add(number)
        if len(self._serving) == len(self._configs):
            self._all_serve.set()

    def _worker_down(self, number: int) -> None:
        if number in self._serving:
            self._serving.remove(number)
            self._served_at = asyncio.get_running_loop().time()

    def _report_crash(self, keeper: asyncio.Task[None]) -> None:
        """Give up when the task that keeps a worker fails."""
        if not keeper.cancelled() and (error := keeper.exception()):
            logger.error("the supervisor crashed", exc_info=error)
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, failure: str) -> None:
        if not self._failure.done():
            self._failure.set_result(failure)


async def _start(config: WorkerConfig) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # do not import from the current directory
        "-m",
        "technopay.cli.workers.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A terminal sends Ctrl-C to every process of its session; only the parent ends workers.
        start_new_session=True,
        pass_fds=(*config.sockets, *config.metrics_sockets),
    )
    assert process.stdin is not None
    # It stays open: its end shows a worker that the parent is gone, even a killed one.
    process.stdin.write(pickle.dumps(config))
    return process


async def _read_report(process: asyncio.subprocess.Process) -> str | None:
    """Wait until a worker serves; return the reason if it does not."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S_MAX):
            if report := await process.stdout.readline():
                failure: str | None = json.loads(report)
                return failure
            return f"it ended with status {await process.wait()} before it served"
    except TimeoutError:
        send_signal(process, signal.SIGKILL)
        return f"it is not ready after {START_S_MAX:g} s"
