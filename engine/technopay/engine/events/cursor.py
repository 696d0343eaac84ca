"""Cursors of the events of all users: a position in the journal of each partition, packed into a text.

A version, the number of partitions less one and the partition that is next, a byte each; two numbers of 7 bits
a byte for each position; a checksum. The text is URL-safe, and has at most 6,154 characters for 256 partitions,
about 2,400 today.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from technopay.engine.errors import FieldError, ValidationFailed
from technopay.engine.values import BEGINNING, Position

VERSION = 1
TEXT = re.compile("[A-Za-z0-9_-]{1,8192}")
RULE = "has to be the next_cursor of a page, or the id of a place in the stream"
HEAD_BYTES, SUM_BYTES = 3, 4
NUMBER_BITS = 63
"""Of a number in a position: nine bytes."""


class Cursor(NamedTuple):
    """The last position read in each partition, and the partition that is read first."""

    positions: Sequence[Position]
    first: int = 0

    @classmethod
    def beginning(cls, partitions: int) -> "Cursor":
        """Return the cursor before the first entries."""
        return cls((BEGINNING,) * partitions)

    @classmethod
    def read(cls, text: str, partitions: int) -> "Cursor":
        """Read a cursor of a store with so many partitions.

        Raises:
            ValidationFailed: it is none, and names the field `after`.

        """
        try:
            cursor = cls._parse(text)
        except (ValueError, IndexError):
            raise _invalid(RULE) from None
        if (own := len(cursor.positions)) != partitions:
            raise _invalid(f"is of a store of {own} partitions; this one has {partitions}")
        return cursor

    def __str__(self) -> str:
        return write(map(pack, self.positions), len(self.positions), self.first)

    @classmethod
    def _parse(cls, text: str) -> "Cursor":
        if not TEXT.fullmatch(text):
            raise ValueError(text)
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        version, last, first = raw[:HEAD_BYTES]
        numbers = list(_unpack(raw[HEAD_BYTES:-SUM_BYTES]))
        positions = [Position(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        cursor = cls(tuple(positions), first)
        # Only the one text of a cursor is accepted: that compares the checksum, too.
        if version != VERSION or len(positions) != last + 1 or first > last or str(cursor) != text:
            raise ValueError(text)
        return cursor


def pack(position: Position) -> bytes:
    """Return a position in as few bytes as its numbers need."""
    packed = bytearray()
    for number in position:
        while number > 0x7F:
            packed.append(number & 0x7F | 0x80)
            number >>= 7
        packed.append(number)
    return bytes(packed)


def write(packed: Iterable[bytes], partitions: int, first: int = 0) -> str:
    """Return the text of a cursor with packed positions."""
    raw = bytes((VERSION, partitions - 1, first)) + b"".join(packed)
    checked = raw + binascii.crc32(raw).to_bytes(SUM_BYTES)
    return urlsafe_b64encode(checked).decode().rstrip("=")


def _unpack(raw: bytes) -> Iterator[int]:
    number = bits = 0
    for byte in raw:
        number |= (byte & 0x7F) << bits
        bits += 7
        if bits > NUMBER_BITS:
            raise ValueError("a number is too long")
        if byte < 0x80:
            yield number
            number = bits = 0
    if bits:
        raise ValueError("a number is incomplete")


def _invalid(rule: str) -> ValidationFailed:
    return ValidationFailed([FieldError("after", rule)])
