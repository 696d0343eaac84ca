"""A Python process of the tests, which ends when its input does."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CLOSING_S = 20.0
LINE_MAX = 1 << 22


@asynccontextmanager
async def running_python(*arguments: str) -> AsyncIterator[Process]:
    """Run Python with the tests' import paths; the process has to end well, unless it was killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=environment, limit=LINE_MAX
    )
    assert process.stdin
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            send_signal(process, signal.SIGCONT)
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), CLOSING_S)
        except TimeoutError:
            process.kill()
            await process.wait()
    assert process.returncode in (0, -signal.SIGKILL), f"{arguments} crashed: {process.returncode}"


def send_signal(process: Process, name: signal.Signals) -> None:
    """Send a signal to a running process. Popen.send_signal would take the exit status from asyncio."""
    if process.returncode is None:
        os.kill(process.pid, name)
