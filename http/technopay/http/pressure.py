"""How many requests may be under way, by how late the event loop is.

Beyond what a process can do, every request more makes all others slower. So fewer are let in while the loop is
late, and more again when it is not: a tenth less at once, a step more at a time (AIMD, as TCP does it).
"""

from __future__ import annotations

LOOK_EVERY_S = 0.05
LATE_S = 0.1
"""A turn of the loop that takes longer is late."""

LEAST = 192
"""So many are let in however late the loop is: some wait for a settlement, and cost nothing meanwhile."""

KEPT_WHEN_LATE = 0.9
STEPS = 20
"""From nothing to the most in so many looks."""


class Pressure:
    """Chooses how many requests may be under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self.allowed = most
        """So many may be under way now."""

    def feel(self, late_s: float, running: int) -> None:
        """Choose anew, by how late the loop is with so many requests under way."""
        if late_s > LATE_S:
            kept = int(KEPT_WHEN_LATE * min(self.allowed, running))
            self.allowed = max(self._least, kept)
        else:
            self.allowed = min(self._most, self.allowed + max(1, self._most // STEPS))
