"""How a process of ours runs its event loop. A library leaves this to its program; here we are the program."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from technopay.cli.settings import ConfigurationError, Settings

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

COLLECT_AFTER_OBJECTS = 50_000
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
OTHER_FILES = 128
"""Files that are open besides connections: the store, the reserve, logs, modules."""


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end.

    Purchases make many objects that live for milliseconds and hardly a cycle: to look for cycles after every
    700 of them, as is the default, costs a sixth of the engine's time. What is loaded by now is never garbage.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)
    return asyncio.run(main)


def allow_connections(count: int, asked_by: str, *, is_default: bool = False) -> int:
    """Let this process have as many connections open, if the system does; return how many it may have.

    A default is lowered to what the system allows, with a warning.

    Raises:
        ConfigurationError: the system allows less than what was set; one line says what to do.

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
    """Let this process have as many connections open as are set; lower the default to what the system allows.

    Raises:
        ConfigurationError: the system allows less than what was set.

    """
    is_default = "connections_max" not in settings.model_fields_set
    count = allow_connections(settings.connections_max, "TECHNOPAY_CONNECTIONS_MAX", is_default=is_default)
    return settings.model_copy(update={"connections_max": count})


def catch_signals() -> asyncio.Event:
    """Answer an event that SIGTERM, SIGINT and SIGHUP set from now on; nohup keeps its meaning."""
    stopped = asyncio.Event()
    for name in ENDING:
        if signal.getsignal(name) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    return stopped


def say(text: str) -> None:
    """Print a line on standard output; a full disk or a reader that is gone does no harm."""
    try:
        # In one write: between two of them, a line of the log could come where both go to one file.
        print(f"{text}\n", end="", flush=True)
    except OSError:
        # What could not be written would be tried again at the end, and be the exit status then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_standard_streams() -> None:
    """Put /dev/null in the place of standard streams that are closed: else the next file gets their number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def sockets_of(descriptors: Iterable[int]) -> list[socket.socket]:
    """Take over sockets that were inherited."""
    return [socket.socket(fileno=each) for each in descriptors]
