"""What a worker is told when it starts. It goes through a pipe, for there are secrets in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from technopay.cli.settings import Settings


class Orders(BaseModel):
    """How a worker is to serve."""

    model_config = ConfigDict(frozen=True)

    number: int
    """From 0; whoever comes in place of a worker has its number."""
    count: int
    """How many workers there are."""
    sockets: tuple[int, ...]
    """Listening sockets that it inherits, as file descriptors."""
    folder: Path
    """Where workers tell one another their metrics."""
    demo: bool
    values: dict[str, Any]
    """The settings, secrets and all."""

    @property
    def settings(self) -> Settings:
        """The settings as they were settled; the environment has no say in them any more."""
        return Settings(**self.values)


class Report(BaseModel):
    """What a worker answers when it has started, or has not."""

    failure: str | None = None
