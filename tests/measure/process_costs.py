"""The memory of a live actor, and the time until a service is ready."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
import urllib.request
from typing import cast

from technopay.cli.bench.environment import SECRET
from technopay.engine import EngineSettings
from technopay.engine.actors.directory import Directory
from technopay.engine.commands import CancelPayment
from technopay.engine.ports import Store
from technopay.engine.system import SystemClock
from technopay.engine.values import Operation

ACTORS = 10_000
STARTS = 3
OPERATION = Operation("bench")


class SilentStore:
    """A store that never replies: every command stays under way."""

    def send(self, *_: object) -> None:
        pass


async def live_actor_bytes() -> float:
    """Return the memory of the engine per actor with one command: actor, task, mailbox, envelope, caller."""
    settings = EngineSettings(secret=SECRET)
    directory = Directory(cast("Store", SilentStore()), SystemClock(), settings, "bench")
    wallet_ids = [f"wal_{number}" for number in range(ACTORS)]
    command = CancelPayment(OPERATION, "pay_1", "alice")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    asking = [asyncio.ensure_future(directory.run(wallet_id, command)) for wallet_id in wallet_ids]
    for _ in range(3):
        await asyncio.sleep(0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert directory.live_actors == ACTORS
    for task in asking:
        task.cancel()
    await directory.drain(0)
    await asyncio.gather(*asking, return_exceptions=True)
    return (after - before) / ACTORS


def ready_s() -> float:
    """Return the median time from the start of a service on an initialised store to its readiness."""
    with tempfile.TemporaryDirectory(prefix="technopay-bench-") as folder:
        return statistics.median([_start_s(folder) for _ in range(STARTS + 1)][1:])


def _start_s(folder: str) -> float:
    command = [sys.executable, "-m", "technopay.cli", "serve", "--demo", "--port", "0", "--data-dir", folder]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        took_s = time.perf_counter() - began
        process.terminate()
    return took_s
