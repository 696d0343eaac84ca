"""Signals to child processes."""

import asyncio
import logging
import signal
import sys

import pytest

from technopay.storage.server.child_process import send_signal


async def test_a_child_that_ends_before_its_signal_keeps_its_status(caplog: pytest.LogCaptureFixture) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)", stdin=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.close()
    with caplog.at_level(logging.WARNING):
        assert await child.wait() == 7
        send_signal(child, signal.SIGKILL)
    assert child.returncode == 7
    assert not caplog.records


async def test_a_running_child_gets_the_signal() -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    send_signal(child, signal.SIGTERM)
    assert await child.wait() == -signal.SIGTERM
