import asyncio
import re
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from technopay.engine import system
from technopay.engine.system import RandomIds, SystemClock

ID = re.compile(r"pay_00[0-9A-Za-z_-]{22}")
UUIDS = st.binary(min_size=16, max_size=16)


@dataclass(frozen=True)
class Uuid:
    bytes: bytes


def id_of(raw: bytes) -> str:
    """Make the id of these bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "uuid7", lambda: Uuid(raw))
        return RandomIds().new("pay", 0)


def test_ids_have_prefix_and_partition_and_22_characters_that_need_no_escaping() -> None:
    made = [RandomIds().new("pay", 0) for _ in range(1_000)]

    assert all(ID.fullmatch(each) for each in made)


def test_ids_sort_by_the_time_of_their_making() -> None:
    ids = RandomIds()

    made = [ids.new("pay", 0) for _ in range(20_000)]

    assert made == sorted(made)
    assert len(set(made)) == 20_000


@given(st.lists(UUIDS, min_size=2, max_size=20))
def test_the_order_of_ids_is_the_order_of_the_bytes_that_they_stand_for(raws: list[bytes]) -> None:
    """In the store's order of bytes, and in Python's order of characters."""
    ids = [id_of(raw) for raw in sorted(raws)]

    assert all(ID.fullmatch(each) for each in ids)
    assert ids == sorted(ids)
    assert [each.encode() for each in ids] == sorted(each.encode() for each in ids)
    assert len(set(ids)) == len(set(raws)), "different bytes have different ids"


@given(UUIDS, st.integers(0, 127))
def test_the_order_of_ids_holds_to_the_last_bit(raw: bytes, bit: int) -> None:
    flipped = (int.from_bytes(raw, "big") ^ (1 << bit)).to_bytes(16, "big")

    assert (id_of(raw) < id_of(flipped)) == (raw < flipped)


def test_the_end_of_an_id_is_all_chance() -> None:
    """It names the calls of an engine, so it has to differ between engines that start at the same moment."""
    ends = [RandomIds().new("eng", 0)[-8:] for _ in range(1_000)]

    assert len(set(ends)) == 1_000
    assert all(len({end[place] for end in ends}) > 20 for place in range(1, 7))


async def test_the_clock_never_goes_back_and_a_sleep_takes_its_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()

    await clock.sleep(0.01)

    assert clock.monotonic() - before >= 0.009
    assert abs(clock.monotonic() - time.monotonic()) < 1
    async with asyncio.timeout(1):
        await clock.sleep(0)
