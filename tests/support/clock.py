"""The clock of faked stores, set by tests."""

from __future__ import annotations

from datetime import datetime


class FakeClock:
    """Stands in for the module `time` in fakeredis' TIME."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time(self) -> float:
        """Answer seconds, as `time.time` does."""
        return self.now_ms / 1000

    def set(self, at: datetime) -> None:
        """Set the clock to an instant."""
        self.now_ms = round(at.timestamp() * 1000)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms
