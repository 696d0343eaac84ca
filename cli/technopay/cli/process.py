"""How a process of ours runs its event loop. A library leaves this to its program; here we are the program."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from technopay.cli.settings import ConfigurationError

Result = TypeVar("Result")

COLLECT_AFTER_OBJECTS = 50_000
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


def allow_connections(count: int, asked_by: str) -> None:
    """Let this process have as many connections open, if the system does.

    Raises:
        ConfigurationError: it does not; one line says what to do.

    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigurationError(
            f"{asked_by}: {count} connections need {needed} open files, and the system allows "
            f"{hard}; set it lower, or raise the limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def sockets_of(descriptors: Iterable[int]) -> list[socket.socket]:
    """Take over sockets that were inherited."""
    return [socket.socket(fileno=each) for each in descriptors]
