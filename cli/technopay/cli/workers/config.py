"""The configuration of a worker. It goes through a pipe, because it contains secrets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from technopay.cli.settings import Settings


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    number: int
    """From 0; a restarted worker keeps its number."""
    count: int
    """The number of workers."""
    sockets: tuple[int, ...]
    """Listening sockets, inherited as file descriptors."""
    folder: Path
    """The folder of the sockets for metrics."""
    demo: bool
    settings: Settings
    """As the parent read them: a worker reads neither the environment nor files."""
