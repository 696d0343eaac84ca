"""The clock and the ids of a real engine."""

import asyncio
import binascii
import time

from uuid_utils import uuid7

BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ALPHABET = bytes(sorted(b"-_" + BASE64[:62]))
"""Base64 with it keeps the order of the bytes."""
SORTED, UNSORTED = bytes.maketrans(BASE64, ALPHABET), bytes.maketrans(ALPHABET, BASE64)
UNIQUE_LENGTH = 22
UUID_VERSION = 7


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
        unique = binascii.b2a_base64(uuid7().bytes, newline=False)[:UNIQUE_LENGTH].translate(SORTED).decode()
        return f"{prefix}_{partition:02x}{unique}"


def time_in(record_id: str) -> int | None:
    """Return the time of an id of RandomIds in milliseconds, by its engine's clock; None for another id."""
    unique = record_id[6:].encode()
    if len(unique) != UNIQUE_LENGTH or unique.strip(ALPHABET):
        return None
    found = binascii.a2b_base64(unique.translate(UNSORTED) + b"==")
    return int.from_bytes(found[:6]) if found[6] >> 4 == UUID_VERSION else None
