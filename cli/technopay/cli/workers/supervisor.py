"""Looks after the workers: starts them, starts them again, and ends them all together."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from technopay.cli.workers.orders import Orders, Report
from technopay.storage.pauses import Pauses

logger = logging.getLogger(__name__)

START_S_MAX = 60.0
PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 5.0
DRAIN_S_MAX = 30.0
"""Workers that drain for longer are killed: whoever stops us has no endless patience; the store ends last."""
NOBODY_S_MAX = 10.0
"""Clients wait in line while no worker serves. When none can for so long, all ends, and they are told."""


class WorkerFailed(Exception):
    """Raised when workers cannot serve; one line says why."""


class Supervisor:
    """Keeps a worker for each of several orders."""

    def __init__(self, orders: Sequence[Orders]) -> None:
        self._orders = orders
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._serving: set[int] = set()
        self._known: set[int] = set()
        """Who has served once: what is wrong with what workers were told shows at their first start."""
        self._served_at = asyncio.get_running_loop().time()
        self._all_serve = asyncio.Event()
        self._draining = asyncio.Event()
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keepers: list[asyncio.Task[None]] = []
        self.restarts: Counter[int] = Counter()

    async def __aenter__(self) -> Self:
        """Start all workers, and wait until they serve.

        Raises:
            WorkerFailed: one does not start; says why.

        """
        self._keepers = [asyncio.create_task(self._keep(each)) for each in self._orders]
        for keeper in self._keepers:
            keeper.add_done_callback(self._miss)
        try:
            await self.wait_unless_failed(self._all_serve)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all workers, and whoever has not ended by then."""
        self._draining.set()
        try:
            await self._end_all()
        finally:
            for process in self._running.values():
                with suppress(ProcessLookupError):
                    process.kill()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def wait_unless_failed(self, event: asyncio.Event) -> None:
        """Wait for an event.

        Raises:
            WorkerFailed: workers cannot serve meanwhile; says why.

        """
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
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                await asyncio.gather(*(process.wait() for process in running.values()))
        except TimeoutError:
            late = [number for number, process in running.items() if process.returncode is None]
            logger.error("workers %s have not ended after %g s; they are killed", late, DRAIN_S_MAX)

    async def _keep(self, orders: Orders) -> None:
        """Run a worker, again and again, until all are to end."""
        loop = asyncio.get_running_loop()
        number, pauses = orders.number, Pauses(PAUSE_S_MIN, PAUSE_S_MAX)
        while not self._draining.is_set():
            started_at = loop.time()
            failure = await self._run(orders)
            if self._draining.is_set():
                return
            if number not in self._known or self._nobody_can():
                self._fail(failure)
                return
            logger.error("worker %s: %s; it is started again", number, failure)
            self.restarts[number] += 1
            with suppress(TimeoutError):
                pause_s = pauses.after(loop.time() - started_at)
                await asyncio.wait_for(self._draining.wait(), pause_s)

    async def _run(self, orders: Orders) -> str:
        """Run a worker once, to its end; answer how it ended."""
        try:
            process = await _start(orders)
        except OSError as error:
            return f"it does not start: {error}"
        self._running[orders.number] = process
        if self._draining.is_set():
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            failure = await _hear(process)
            if failure is None:
                self._begin(orders.number)
            status = await process.wait()
        finally:
            del self._running[orders.number]
            self._end(orders.number)
        return failure or f"it ended with status {status}"

    def _begin(self, number: int) -> None:
        if number in self._known:
            logger.warning("worker %s serves again", number)
        self._known.add(number)
        self._serving.add(number)
        if len(self._serving) == len(self._orders):
            self._all_serve.set()

    def _end(self, number: int) -> None:
        if number in self._serving:
            self._serving.remove(number)
            self._served_at = asyncio.get_running_loop().time()

    def _nobody_can(self) -> bool:
        return not self._serving and asyncio.get_running_loop().time() - self._served_at > NOBODY_S_MAX

    def _miss(self, keeper: asyncio.Task[None]) -> None:
        """Give up when a worker is not looked after any more."""
        if not keeper.cancelled() and (error := keeper.exception()):
            logger.error("the supervisor crashed", exc_info=error)
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, failure: str) -> None:
        if not self._failure.done():
            self._failure.set_result(failure)


async def _start(orders: Orders) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # no folder that we happen to be in has a say in what is loaded
        "-m",
        "technopay.cli.workers.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A Ctrl-C goes to whoever belongs to the terminal; when workers end is not its business but ours.
        start_new_session=True,
        pass_fds=orders.sockets,
    )
    assert process.stdin is not None
    # It stays open: when we are gone, however we went, the worker sees that it was closed.
    process.stdin.write(orders.model_dump_json().encode() + b"\n")
    return process


async def _hear(process: asyncio.subprocess.Process) -> str | None:
    """Wait until a worker serves; answer why it does not, if it does not."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S_MAX):
            if told := await process.stdout.readline():
                return Report.model_validate_json(told).failure
            return f"it ended with status {await process.wait()} before it served"
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        return f"it is not ready after {START_S_MAX:g} s"
