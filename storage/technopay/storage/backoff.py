"""The delay before a process that ended is started again."""


class Backoff:
    """Longer and longer delays, up to a bound, while the process does not stay up."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._next_s = least_s

    def delay_s(self, lived_s: float) -> float:
        """Return the delay after the end of a process that lived so long."""
        if lived_s > self._most_s:
            self._next_s = self._least_s
        delay_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return delay_s
