"""The registry of prepared calls: one of every script, to be made as often as a test likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from support.scene import ALONE, Scene

from technopay.engine.commands import Command

Call = Callable[[], Awaitable[Any]]
Case = Callable[[Scene], Awaitable[Call]]
Prepared = Call | Command[Any]

CASES: dict[str, Case] = {}


def case(prepare: Callable[[Scene], Awaitable[Prepared]]) -> None:
    """Note down how a call or a command is prepared, by the name of its script; `__` tells cases apart."""

    async def make(scene: Scene) -> Call:
        made = await prepare(scene)
        return partial(scene.store.run, made, ALONE) if isinstance(made, Command) else made

    CASES[prepare.__name__] = make
