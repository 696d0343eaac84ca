"""Compares the slices of limits in their homes and in the partitions.

The totals only grow, and a partition has them after its home granted, before its home hears of a return. So the
home is read before the partitions and after them, and no difference comes from what happens between.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from technopay.engine.models import Difference
from technopay.storage.audit.invariants import LIMIT, SLICES, differ
from technopay.storage.commands import AuditSlice
from technopay.storage.partition import Partition
from technopay.storage.partitions import Partitions


async def compare_slices(partitions: Partitions, periods: Iterable[tuple[str, str]]) -> list[Difference]:
    """Compare the slices of these limits in these periods."""
    found: list[Difference] = []
    for name, period in sorted(periods):
        home = partitions.home_of_limit(name)
        first = await _read(home, "quota", f"{name}:{period}")
        slices = await asyncio.gather(*(_read(each, "limit", name) for each in partitions))
        second = await _read(home, "quota", f"{name}:{period}")
        limit = await _read(home, "quota", name)
        if second:
            found += _compare(f"{name} on {period}", first, slices, second, period)
            found += [difference for part in slices for difference in _compare_limit(name, part, limit)]
    return found


async def _read(partition: Partition, kind: str, name: str) -> Mapping[str, str]:
    return (await partition.run(AuditSlice(kind, name))).value or {}


def _compare(
    subject: str,
    first: Mapping[str, str],
    slices: Iterable[Mapping[str, str]],
    second: Mapping[str, str],
    period: str,
) -> Iterator[Difference]:
    out = 0
    for number, part in enumerate(slices):
        partition = f"{number:02x}"
        granted, returned = _number(second, f"g:{partition}"), _number(second, f"r:{partition}")
        out += granted - returned
        own_granted, own_returned = _number(part, f"{period}:granted"), _number(part, f"{period}:returned")
        is_limited, used = part.get("mode") == "limited", _number(part, period)
        # Only a partition that counted without a limit knows more than its home, until the next recall.
        if is_limited and own_granted > granted:
            yield differ(SLICES, subject, f"granted to {partition}", f"at most {granted}", own_granted)
        if _number(first, f"r:{partition}") > own_returned:
            yield differ(SLICES, subject, f"returned by {partition}", f"at most {own_returned}", returned)
        if is_limited and used > own_granted - own_returned:
            room = own_granted - own_returned
            yield differ(SLICES, subject, f"used in {partition}", f"at most {room}", used)
    if out != _number(second, "out"):
        yield differ(SLICES, subject, "granted in all", out, second.get("out"))


def _compare_limit(name: str, part: Mapping[str, str], limit: Mapping[str, str]) -> Iterator[Difference]:
    """Compare the limit as a partition knows it, if it knows the last change."""
    if part.get("epoch", "0") == limit.get("epoch", "0") and part.get("limit") != limit.get("limit"):
        yield differ(LIMIT, name, "limit", limit.get("limit"), part.get("limit"))


def _number(record: Mapping[str, str], name: str) -> int:
    return int(record.get(name, "0"))
