"""How a process of ours runs its event loop. A library leaves this to its program; here we are the program."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

COLLECT_AFTER_OBJECTS = 50_000


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end.

    Purchases make many objects that live for milliseconds and hardly a cycle: to look for cycles after every
    700 of them, as is the default, costs a sixth of the engine's time. What is loaded by now is never garbage.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)
    return asyncio.run(main)
