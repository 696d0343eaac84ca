"""A process is killed at every point of its dialogue with the settlement service, whatever that answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.processes.crash_flows import SETTLEMENTS
from support.processes.crash_runs import running_crash_runs
from support.processes.killable_ports import Point

SETTLING = (
    "confirm_payment", "settle", "status", "call_off", "mock_settlement", "back-off", "set_aside",
    "complete_payment", "resolve_payment",
)  # fmt: skip
"""What the points of a settlement are about. Those of messages are the same for every payment."""
NEEDED = {
    "declines": {"after mock_settlement decline", "before complete_payment"},
    "errors": {"before back-off", "after mock_settlement status #2", "before mock_settlement call_off"},
    "slow": {"before mock_settlement settle", "after settle"},
    "timeout": {"after settle", "before back-off", "after mock_settlement call_off"},
    "lost": {"after mock_settlement settle", "before status", "before complete_payment"},
    "flaky": {"after mock_settlement settle #2", "after mock_settlement settle #3"},
    "stuck": {"before status #2", "before set_aside", "after set_aside", "after resolve_payment"},
}
"""Points that the enumeration must not lose."""


def is_of_settlement(point: Point) -> bool:
    return point.name.partition(" ")[2].startswith(SETTLING)


@pytest.mark.timeout(240)
async def test_a_settlement_ends_as_the_service_answers_wherever_a_process_is_killed(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    async with running_crash_runs(server_url, namespace, tmp_path) as crash_runs:
        everywhere = (crash_runs.kill_everywhere(story, is_of_settlement) for story in SETTLEMENTS)
        points = dict(zip(SETTLEMENTS, await asyncio.gather(*everywhere), strict=True))
    crash_runs.conclude()
    for story, needed in NEEDED.items():
        assert {str(point) for point in points[story]} >= needed, story
