"""The clock and the ids of a real engine."""

import asyncio
import binascii
import time

from uuid_utils import uuid7

BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SORTED = bytes.maketrans(BASE64, bytes(sorted(b"-_" + BASE64[:62])))
"""Base64 with an alphabet that keeps the order of the bytes."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class RandomIds:
    """Ids that cannot be guessed and sort by time (RFC 9562, version 7)."""

    def new(self, prefix: str, partition: int) -> str:
        """Make an id: prefix, '_', partition, and the bytes of the UUID as 22 characters."""
        unique = binascii.b2a_base64(uuid7().bytes, newline=False)[:22].translate(SORTED).decode()
        return f"{prefix}_{partition:02x}{unique}"
