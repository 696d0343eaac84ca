"""The periods of limits in the business time zone, with daylight saving time."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import get_args
from zoneinfo import ZoneInfo

from technopay.engine.limits import Window

ENDS_KEPT = 256


class Calendar:
    """Returns the periods around a time of the store's clock."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._starts_at_ms, self._ends_at_ms = 0, 0
        self._periods: tuple[str, ...] = ()
        self.ends_at_ms = lru_cache(ENDS_KEPT)(self._compute_end)
        """When a period of a window ends."""

    def periods(self, now_ms: int) -> tuple[str, ...]:
        """Return a window, the start of its earliest period, then name and end of three periods."""
        if not self._starts_at_ms <= now_ms < self._ends_at_ms:
            today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self._zone).date()
            days = [today + timedelta(days=offset) for offset in (-1, 0, 1)]
            starts = [self._start_of(day) for day in [*days, today + timedelta(days=2)]]
            self._starts_at_ms, self._ends_at_ms = starts[1], starts[2]
            named = [
                text for day, end in zip(days, starts[1:], strict=True) for text in (f"{day}", f"{end:013}")
            ]
            (window,) = get_args(Window)
            self._periods = (window, f"{starts[0]:013}", *named)
        return self._periods

    def _compute_end(self, window: Window, period: str) -> int:
        assert window == "day", window
        return self._start_of(date.fromisoformat(period) + timedelta(days=1))

    def _start_of(self, day: date) -> int:
        """Return the start of a day. If clocks skip midnight, it is the first instant after the gap."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return round(midnight.timestamp() * 1000)


def calendar_of(timezone: str) -> Calendar:
    """Return the calendar of a time zone.

    Raises:
        ValueError: this system does not know it.

    """
    try:
        return Calendar(timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"timezone has to be one that this system knows, like Europe/Berlin, not {timezone!r}"
        ) from None
