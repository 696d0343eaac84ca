"""How long to wait before something that ended is started again."""

from __future__ import annotations


class Pauses:
    """Longer and longer pauses, up to a bound, while what is started does not stay."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._next_s = least_s

    def after(self, lived_s: float) -> float:
        """Answer the pause after something has ended that lived so long."""
        if lived_s > self._most_s:
            self._next_s = self._least_s
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return pause_s
