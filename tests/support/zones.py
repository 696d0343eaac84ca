"""Time zones for tests that count by the day."""

from __future__ import annotations

from datetime import UTC, datetime


def zone_at_midday() -> str:
    """Answer a time zone in which it is about noon now, so that no midnight falls into a test."""
    offset = 12 - datetime.now(UTC).hour
    # The names of these zones count the other way round: Etc/GMT-5 is five hours ahead of UTC.
    return f"Etc/GMT{-offset:+d}"
