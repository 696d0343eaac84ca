"""The names of commands in the store."""

from __future__ import annotations

import re
from typing import Any

from technopay.engine.commands import Command


def script_of(command: Command[Any]) -> str:
    """Return the name of the script of a command."""
    return re.sub(r"\B([A-Z])", r"_\1", type(command).__name__).lower()
