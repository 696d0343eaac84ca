"""Waits for what has to be seen, with pauses that suit how many wait at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Seen = TypeVar("Seen")


async def see(look: Callable[[], Awaitable[Seen | None]], *, within_s: float, pause_s: float) -> Seen:
    """Look again and again until there is something to see; answer it."""
    give_up_at = time.monotonic() + within_s
    while not (seen := await look()):
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"not seen within {within_s} s")
        await asyncio.sleep(pause_s)
    return seen
