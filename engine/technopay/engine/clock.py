"""Time and ids as they are outside of tests."""

from __future__ import annotations

import asyncio
import base64
import time

from uuid_utils import uuid7

PARTITION = "00"


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Answer seconds that never go back."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait."""
        await asyncio.sleep(delay_s)


class RandomIds:
    """Ids that cannot be guessed and sort by the time of their making (RFC 9562, version 7)."""

    def new(self, prefix: str) -> str:
        """Make an id: prefix, '_', partition, 26 characters of base32hex, whose order is that of the bytes."""
        unique = base64.b32hexencode(uuid7().bytes).rstrip(b"=").decode().lower()
        return f"{prefix}_{PARTITION}{unique}"
