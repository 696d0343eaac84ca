"""A process is killed at every point of what it does, and a fresh engine brings everything to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.processes.crash_flows import PURCHASES
from support.processes.crash_runs import running_crash_runs
from support.processes.killable_ports import Point

NEEDED = {
    "before initialise", "after bind_secret", "after create_user", "before create_wallet", "after deposit",
    "before start_payment", "after start_payment", "before claim_relay", "after xrange",
    "before deliver confirmation.code", "after deliver confirmation.code", "after add_to_mock_inbox",
    "before record_deliveries", "after record_deliveries", "before confirm_payment", "after confirm_payment",
    "before settle", "before mock_settlement settle", "after mock_settlement settle", "after settle",
    "before complete_payment", "after complete_payment", "after deliver payment.succeeded",
}  # fmt: skip
"""Points of a purchase that the enumeration must not lose."""
PASSES = 6
"""How often a story comes by the same point until there is nothing new about it."""


def is_early(point: Point) -> bool:
    return point.nth <= PASSES


@pytest.mark.timeout(240)
async def test_a_kill_at_any_point_loses_nothing_and_does_nothing_twice(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    async with running_crash_runs(server_url, namespace, tmp_path) as crash_runs:
        points, *_ = await asyncio.gather(*(crash_runs.kill_everywhere(story, is_early) for story in PURCHASES))
    crash_runs.conclude()
    assert {point.name for point in points} >= NEEDED
