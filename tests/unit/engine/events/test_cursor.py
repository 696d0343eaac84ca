"""Cursors of the events of all users: compact, exact, and refused unless they are as they were given out."""

import binascii
from base64 import urlsafe_b64encode
from random import Random

import pytest

from technopay.engine import ValidationFailed
from technopay.engine.events.cursor import RULE, Cursor
from technopay.engine.values import BEGINNING, Position

TODAY = 1_795_998_600_000
LAST = 2**63 - 1


def places(partitions: int, *, seed: int = 1) -> tuple[Position, ...]:
    random = Random(seed)
    return tuple(Position(TODAY + random.randrange(10**9), random.randrange(300)) for _ in range(partitions))


@pytest.mark.parametrize("partitions", [1, 2, 255, 256])
def test_a_cursor_is_read_as_it_was_written(partitions: int) -> None:
    cursor = Cursor(places(partitions), first=partitions - 1)
    assert Cursor.read(str(cursor), partitions) == cursor
    beginning = Cursor.beginning(partitions)
    assert beginning.positions == (BEGINNING,) * partitions
    assert Cursor.read(str(beginning), partitions) == beginning


def test_the_cursor_of_256_partitions_fits_into_a_header_whatever_its_positions() -> None:
    assert len(str(Cursor(places(256)))) < 2_600
    largest = Cursor((Position(LAST, LAST),) * 256, 255)
    assert len(str(largest)) <= 6_154
    assert Cursor.read(str(largest), 256) == largest


@pytest.mark.parametrize("seed", range(20))
def test_a_cursor_with_any_other_character_is_refused(seed: int) -> None:
    random = Random(seed)
    text = str(Cursor(places(3, seed=seed)))
    place = random.randrange(len(text))
    for character in "A-_z9=+/ é\n":
        if text[place] != character:
            refuse(text[:place] + character + text[place + 1 :], 3)
    for other in (text[:place], text + "A", text + text, "", f" {text}", f"{text}\n"):
        refuse(other, 3)


@pytest.mark.parametrize(
    ("positions", "head"),
    [
        (b"\x01\x02", bytes((2, 0, 0))),
        (b"\x01\x02", bytes((1, 1, 0))),
        (b"\x01\x02", bytes((1, 0, 1))),
        (b"\x01\x82\x00", bytes((1, 0, 0))),
        (b"\x01\x82", bytes((1, 0, 0))),
        (b"\x01", bytes((1, 0, 0))),
        (b"", bytes((1, 0, 0))),
        (b"\x01" + b"\xff" * 9 + b"\x01", bytes((1, 0, 0))),
    ],
    ids=["version", "count", "first", "longer than needed", "incomplete", "odd", "empty", "too large"],
)
def test_a_cursor_of_another_form_is_refused_also_with_the_right_checksum(
    positions: bytes, head: bytes
) -> None:
    raw = head + positions
    summed = raw + binascii.crc32(raw).to_bytes(4)
    refuse(urlsafe_b64encode(summed).decode().rstrip("="), 1)


def test_a_cursor_of_another_number_of_partitions_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValidationFailed, match="after: is of a store of 3 partitions; this one has 256"):
        Cursor.read(str(Cursor(places(3))), 256)


def refuse(text: str, partitions: int) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        Cursor.read(text, partitions)
    [error] = refusal.value.errors
    assert (error.field, error.message) == ("after", RULE)
