"""The calendar: the bounds of yesterday, today and tomorrow in the business time zone, DST and all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo


class Calendar:
    """Knows the days around an instant. Instants come from the store's clock, never from ours."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._day: date | None = None
        self._days = ""

    def days(self, now_ms: int) -> str:
        """Answer `<start> <day>:<end> <day>:<end> <day>:<end>` around an instant, as scripts want it."""
        today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self._zone).date()
        if today != self._day:
            yesterday = today - timedelta(days=1)
            days = [yesterday + timedelta(days=offset) for offset in range(3)]
            bounds = [f"{day.isoformat()}:{self._starts_at_ms(day + timedelta(days=1))}" for day in days]
            self._day, self._days = today, " ".join([str(self._starts_at_ms(yesterday)), *bounds])
        return self._days

    def _starts_at_ms(self, day: date) -> int:
        """Answer when a day starts. Where clocks skip midnight, it is the first instant after the gap."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return round(midnight.timestamp() * 1000)
