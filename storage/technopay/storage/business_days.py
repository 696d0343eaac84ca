"""The calendar: the bounds of yesterday, today and tomorrow in the business time zone, DST and all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo


class Calendar:
    """Knows the days around an instant. Instants come from the store's clock, never from ours."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._starts_at, self._ends_at, self._days = 0, 0, ""

    def days(self, now_ms: int) -> str:
        """Answer `<start> <day>:<end> <day>:<end> <day>:<end>` around an instant, as scripts want it."""
        if not self._starts_at <= now_ms < self._ends_at:
            today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self._zone).date()
            yesterday = today - timedelta(days=1)
            days = [yesterday + timedelta(days=offset) for offset in range(3)]
            bounds = [f"{day.isoformat()}:{self._starts_at_ms(day + timedelta(days=1)):013}" for day in days]
            self._starts_at = self._starts_at_ms(today)
            self._ends_at = self._starts_at_ms(today + timedelta(days=1))
            self._days = " ".join([f"{self._starts_at_ms(yesterday):013}", *bounds])
        return self._days

    def _starts_at_ms(self, day: date) -> int:
        """Answer when a day starts. Where clocks skip midnight, it is the first instant after the gap."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return round(midnight.timestamp() * 1000)
