"""Signals to child processes of an event loop."""

import os
import signal
from asyncio.subprocess import Process
from contextlib import suppress


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to a child process, unless it has ended.

    `Process.send_signal` polls first. That can reap a child that has just ended; then asyncio logs an unknown
    process and returns the status 255 (CPython issue 127049).
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
