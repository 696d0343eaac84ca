"""Kills of a process at every point of a flow: a fresh engine completes the flow, once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from support.processes.crash_flows import PURCHASES, SETTLEMENTS
from support.processes.crash_runs import running_crash_runs
from support.processes.killable_ports import Point
from support.servers.raw_client import flush
from support.servers.services_stub import running_stub

pytestmark = pytest.mark.timeout(240)

OF_A_PURCHASE = {
    "before initialise", "after bind_secret", "after create_user", "before create_wallet",
    "after change_balance",
    "before start_payment", "after start_payment", "before claim_relay", "after claim_relay",
    "before deliver confirmation.code", "after deliver confirmation.code", "after add_to_mock_inbox",
    "before record_deliveries", "after record_deliveries", "before confirm_payment", "after confirm_payment",
    "before settle", "before mock_settlement settle", "after mock_settlement settle", "after settle",
    "before complete_payment", "after complete_payment", "after deliver payment.succeeded",
}  # fmt: skip
"""Points of a purchase that the enumeration must not lose."""
PASSES = 6
"""The number of passes of a story through the same point after which a further one adds nothing."""


def is_early(point: Point) -> bool:
    return point.nth <= PASSES


SETTLING = (
    "confirm_payment", "settle", "status", "call_off", "mock_settlement", "back-off", "set_aside",
    "complete_payment", "resolve_payment", "reverse",
)  # fmt: skip
"""The subjects of a settlement's points. The points of messages are the same for every payment."""
OF_SETTLEMENTS = {
    "declines": {"after mock_settlement decline", "before complete_payment"},
    "errors": {"before back-off", "after mock_settlement status #2", "before mock_settlement call_off"},
    "slow": {"before mock_settlement settle", "after settle"},
    "timeout": {"after settle", "before back-off", "after mock_settlement call_off"},
    "lost": {"after mock_settlement settle", "before status", "before complete_payment"},
    "flaky": {"after mock_settlement settle #2", "after mock_settlement settle #3"},
    "stuck": {"before status #2", "before set_aside", "after set_aside", "after resolve_payment"},
}
"""Points that the enumeration must not lose."""


OVER_HTTP = {
    "lost": {"before settle", "after settle", "before status", "before complete_payment"},
    "refund": {"before reverse", "after reverse", "before complete_payment #2"},
}
"""The same with a settlement service over HTTP; the endings that need no time-out are more of its stories."""
MORE_OVER_HTTP = ("plain", "declines", "errors", "flaky")


def is_of_settlement(point: Point) -> bool:
    return point.name.partition(" ")[2].startswith(SETTLING)


async def test_a_kill_at_any_point_loses_nothing_and_does_nothing_twice(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    async with running_crash_runs(server_url, namespace, tmp_path) as crash_runs:
        points, *_ = await asyncio.gather(*(crash_runs.kill_everywhere(story, is_early) for story in PURCHASES))
    crash_runs.conclude()
    assert {point.name for point in points} >= OF_A_PURCHASE


@pytest.mark.parametrize(
    "server_url", ["valkey", pytest.param("redis", marks=pytest.mark.in_long_runs)], indirect=True
)
async def test_a_settlement_ends_as_the_service_answers_after_a_kill_at_any_point(
    server_url: str, namespace: str, tmp_path: Path
) -> None:
    async with running_crash_runs(server_url, namespace, tmp_path) as crash_runs:
        everywhere = (crash_runs.kill_everywhere(story, is_of_settlement) for story in SETTLEMENTS)
        points = dict(zip(SETTLEMENTS, await asyncio.gather(*everywhere), strict=True))
    crash_runs.conclude()
    for story, needed in OF_SETTLEMENTS.items():
        assert {str(point) for point in points[story]} >= needed, story


async def test_a_settlement_over_http_ends_as_the_service_answers_after_a_kill_at_any_point(
    valkey_url: str, namespace: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    stories = [*OVER_HTTP, *(MORE_OVER_HTTP if pytestconfig.getoption("faults") else ())]
    async with AsyncExitStack() as stack:
        stub = stack.enter_context(running_stub(tmp_path))
        crash_runs = await stack.enter_async_context(running_crash_runs(valkey_url, namespace, tmp_path, stub))
        everywhere = (crash_runs.kill_everywhere(story, is_of_settlement) for story in stories)
        points = dict(zip(stories, await asyncio.gather(*everywhere), strict=True))
    await flush(valkey_url)
    crash_runs.conclude()
    for story, needed in OVER_HTTP.items():
        assert {str(point) for point in points[story]} >= needed, story
