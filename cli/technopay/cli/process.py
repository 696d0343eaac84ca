"""The process: its event loop, signals, standard streams and limits. The library leaves these to programs."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from technopay.cli.settings import ConfigurationError, Settings, expand_path

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

COLLECT_AFTER_OBJECTS = 50_000
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
OTHER_FILES = 128
"""Open files besides connections: the store, the reserve, logs, modules."""


def writable_file(name: str) -> Path:
    """Return the path of a file that can be written, else raise ValueError with the reason."""
    if not name.strip():
        raise ValueError("is empty")
    path = expand_path(Path(name))
    if not path.parent.is_dir():
        raise ValueError(f"there is no directory {path.parent} to write {path.name} to")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{path} cannot be written")
    return path


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end.

    Purchases make many objects that live for milliseconds, and hardly a cycle: to look for cycles after every
    700 of them, as is the default, costs a sixth of the engine's time. Loaded modules are never garbage.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)
    return asyncio.run(main)


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[object]], at_a_time: int) -> None:
    """Do some work for each item, so many at a time; the first failure is raised and ends the rest."""
    waiting = iter(items)

    async def work_on_some() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(at_a_time):
                workers.create_task(work_on_some())
    except* Exception as errors:
        raise errors.exceptions[0] from None


def allow_connections(count: int, asked_by: str, *, is_default: bool = False) -> int:
    """Raise this process's limit of open files for so many connections; return the number that it allows.

    If the system allows less, a default is lowered, with a warning, and a setting raises ConfigurationError.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return count
    if hard != resource.RLIM_INFINITY and hard < needed:
        if not is_default:
            raise ConfigurationError(
                f"{asked_by}: {count} connections need {needed} open files, and the system allows "
                f"{hard}; set it lower, or raise the limit (ulimit -Hn)"
            )
        count, needed = hard - min(OTHER_FILES, hard // 2), hard
        logger.warning(
            "the system allows %d open files, so there can be %d connections; raise the limit (ulimit -Hn) "
            "or set %s",
            hard, count, asked_by,
        )  # fmt: skip
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return count


def fit_connections(settings: Settings) -> Settings:
    """Raise the limit of open files for the connections of the settings; a default is lowered if need be."""
    is_default = "connections_max" not in settings.model_fields_set
    count = allow_connections(settings.connections_max, "TECHNOPAY_CONNECTIONS_MAX", is_default=is_default)
    return settings.model_copy(update={"connections_max": count})


def catch_signals() -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set from now on; an ignored signal stays ignored."""
    stopped = asyncio.Event()
    for name in ENDING:
        if signal.getsignal(name) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    return stopped


def say(text: str) -> None:
    """Print a line on standard output; a full disk or a closed pipe does no harm."""
    try:
        # In one write: a line of the log could come between two, if both go to one file.
        print(f"{text}\n", end="", flush=True)
    except OSError:
        # A later flush would fail again, and change the exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_address(url: str, metrics_url: str | None) -> None:
    """Print where the server can be reached."""
    if metrics_url:
        say(f"technopay: metrics on {metrics_url}/metrics")
    say(f"technopay: serving on {url}")


def open_standard_streams() -> None:
    """Replace closed standard streams by /dev/null: else the next file gets their number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def fail_to_run(what: str, error: Exception) -> int:
    """Print why a command could not run; return its status, 2."""
    logger.debug("%s could not run", what, exc_info=True)
    return fail(str(error) or type(error).__name__, 2)


def fail(message: str, status: int) -> int:
    """Print why a command failed; return its status."""
    with suppress(OSError):
        for line in message.split("\n"):
            print(f"technopay: {line}", file=sys.stderr)
    return status
