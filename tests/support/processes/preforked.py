"""A warm process whose children begin at once: they share its imports.

It reads jobs from its standard input, one JSON object a line, and has one child at a time: it prints the
child's process id, and its exit status at its end. A child is a process of its own, and may be killed.
"""

import asyncio
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from queue import Empty, LifoQueue
from typing import Any, NoReturn

from support.processes.python_process import running_python

Job = Mapping[str, Any]


def serve(job: Job) -> None:
    """Run the `technopay` command, in a directory and an environment of its own."""
    from technopay.cli.main import run

    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.argv = ["technopay", *job["arguments"]]
    run()


def live_story(job: Job) -> None:
    """Run the child of a kill; the alarm ends one that hangs."""
    from support.processes.crash_child import live

    signal.alarm(round(job["alarm_s"]))
    asyncio.run(live(job))


def migrate(job: Job) -> None:
    """Run a migration that is killed; the alarm ends one that hangs."""
    from support.processes.crash_child import migrate_killably

    signal.alarm(round(job["alarm_s"]))
    asyncio.run(migrate_killably(job))


def archive(job: Job) -> None:
    """Run an archiver that is killed; the alarm ends one that hangs."""
    from support.processes.archiver_child import archive_killably

    signal.alarm(round(job["alarm_s"]))
    asyncio.run(archive_killably(job))


def trim(job: Job) -> None:
    """Run a trimmer that is killed; the alarm ends one that hangs."""
    from support.processes.trimmer_child import trim_killably

    signal.alarm(round(job["alarm_s"]))
    asyncio.run(trim_killably(job))


CALLINGS: Mapping[str, Callable[[Job], None]] = {
    "serve": serve,
    "story": live_story,
    "migrate": migrate,
    "archive": archive,
    "trim": trim,
}
PRELOADED = {
    "serve": "technopay.cli.main",
    "story": "support.processes.crash_child",
    "migrate": "support.processes.crash_child",
    "archive": "support.processes.archiver_child",
    "trim": "support.processes.trimmer_child",
}


def main(calling: str) -> None:
    """Start children of one calling until the input ends."""
    importlib.import_module(PRELOADED[calling])
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _grow_up(calling, job)
        _say(pid)
        _say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _grow_up(calling: str, job: Job) -> NoReturn:
    """Do a child's job, and exit."""
    status = 1
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output, errors = (os.open(job[name], flags, 0o600) for name in ("output", "errors"))
        for number, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, errors)):
            os.dup2(source, number)
        CALLINGS[calling](job)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # The exit handlers belong to the parent.
        os._exit(status)


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


class Preforked:
    """The test's handle on the warm process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def raise_child(self, *, output: str, **job: Any) -> int:
        """Begin a child; return its process id. The one before has to have ended."""
        assert self._process.stdin
        streams = {"output": output, "errors": output}
        self._process.stdin.write(f"{json.dumps(streams | job)}\n".encode())
        return await self._hear()

    async def wait_for_end(self) -> int:
        """Wait until the child ended; return its exit status, negative for a signal."""
        return await self._hear()

    async def _hear(self) -> int:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        assert line, "the preforked crashed"
        return int(line)


@asynccontextmanager
async def running_preforked(calling: str) -> AsyncIterator[Preforked]:
    """Run a preforked of one calling; its child has to be ended before the exit."""
    async with running_python("-m", "support.processes.preforked", calling) as process:
        yield Preforked(process)
    assert process.returncode == 0, "the preforked crashed"


_idle: LifoQueue[subprocess.Popen[str]] = LifoQueue()
"""Warm processes of commands without a child; each ends with this process, as its input does."""


@contextmanager
def warm_process() -> Iterator[tuple[Callable[..., int], Callable[[], int]]]:
    """Lend a warm process of commands: how a child is begun, and how its end is waited for."""
    try:
        process = _idle.get_nowait()
    except Empty:
        path = os.pathsep.join(each for each in sys.path if each)
        process = subprocess.Popen(
            [sys.executable, "-m", "support.processes.preforked", "serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
    stdin, stdout = process.stdin, process.stdout
    assert stdin
    assert stdout

    def start(**job: Any) -> int:
        stdin.write(f"{json.dumps(job)}\n")
        stdin.flush()
        return int(stdout.readline())

    yield start, lambda: int(stdout.readline())
    _idle.put(process)


if __name__ == "__main__":
    main(sys.argv[1])
