"""Signals to child processes."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from technopay.storage.server.child_process import send_signal


async def child() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )


async def test_a_child_gets_a_signal_and_is_not_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    running = await child()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess.Popen, "poll", lambda _: pytest.fail("the poll can reap the child"))
        send_signal(running, signal.SIGTERM)
    assert await running.wait() == -signal.SIGTERM


async def test_a_child_that_has_ended_gets_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = await child()
    await ended.communicate(b"\n")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("another process can have its id"))
    send_signal(ended, signal.SIGKILL)
    assert ended.returncode == 0
