"""Reads over four partitions return the same, whether entries are in the store or left it."""

from support.fixtures.partitioned import USERS
from support.fixtures.trimmed_reads import assert_same_reads
from support.fixtures.trimming import Trimming


async def test_reads_of_four_partitions_return_the_same_before_and_after_entries_left(
    trimming: Trimming,
) -> None:
    await assert_same_reads(trimming, USERS, 9)
