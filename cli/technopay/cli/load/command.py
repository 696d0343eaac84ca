"""Runs a load test from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from technopay.cli.load.conditions import Condition, failures
from technopay.cli.load.figures import make_result
from technopay.cli.load.journal import Journal
from technopay.cli.load.page import page_html
from technopay.cli.load.plan import ScenarioName
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import Plan, Result
from technopay.cli.load.scenarios import SCENARIOS
from technopay.cli.load.scene import make_scene
from technopay.cli.load.screen import Screen, print_result
from technopay.cli.load.traffic import Traffic
from technopay.cli.load.verdict import judge
from technopay.cli.load.vitals import Vitals
from technopay.cli.load.wire import open_session
from technopay.cli.process import allow_connections, run_loop

OTHER_CONNECTIONS = 16
"""For the metrics, and for reading afterwards."""

AT_MOST_TWICE = 2
"""Requests that one purchase has under way at a time."""

CLEAN, BROKEN, NO_VERDICT, FAILED = 0, 1, 2, 3


def run_load(
    plan: Plan,
    admin_token: str | None,
    report: Path | None,
    json: Path | None,
    console: Console,
    fail_if: Sequence[Condition] = (),
) -> int:
    """Run a load test, show it, write it to the files that are named; answer the exit status.

    Raises:
        LoadError: there is none to be had.

    """
    screen = Screen(console)
    with screen.shown():
        result = run_loop(measure(plan, admin_token, screen))
    print_result(result, console)
    if json:
        json.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if report:
        report.write_text(page_html(result), encoding="utf-8")
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    failed = failures(fail_if, result)
    for line in failed:
        console.print(f"failed: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not result.verdict.clean:
        return BROKEN if result.verdict.is_broken else NO_VERDICT
    return FAILED if failed else CLEAN


def fit_plan(plan: Plan, *, is_default: bool) -> Plan:
    """Let this process have the connections of a plan; a concurrency that was not given is lowered if need be.

    Raises:
        ConfigurationError: the system allows less than what was given.

    """
    connections = AT_MOST_TWICE * plan.concurrency + OTHER_CONNECTIONS
    allowed = allow_connections(connections, "--concurrency", is_default=is_default)
    concurrency = max(1, (allowed - OTHER_CONNECTIONS) // AT_MOST_TWICE)
    return plan.model_copy(update={"concurrency": concurrency})


async def measure(plan: Plan, admin_token: str | None, screen: Screen) -> Result:
    """Make users, let them buy, and judge what came of it."""
    connections = AT_MOST_TWICE * plan.concurrency + OTHER_CONNECTIONS
    scenario = SCENARIOS[ScenarioName(plan.scenario)]
    recorder, journal = Recorder(), Journal()
    async with open_session(plan.url, connections) as session:
        screen.step("making users and wallets", plan.users)
        scene = await make_scene(session, recorder, journal, admin_token, plan.users, screen.advance)
        vitals = Vitals(session)
        await vitals.read()
        with stop_on_signal() as stopped:
            traffic = Traffic(plan, scenario, scene, recorder, stopped)
            screen.step(f"{scenario.name}", round(plan.duration_s))
            began_at = datetime.now(UTC)
            watching = [
                asyncio.create_task(vitals.watch()),
                asyncio.create_task(_show(screen, traffic, recorder)),
            ]
            await traffic.run()
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await vitals.read()
            verdict = await judge(session, scene, journal, screen.step)
    return make_result(plan, began_at, recorder, traffic, vitals, verdict)


async def _show(screen: Screen, traffic: Traffic, recorder: Recorder) -> None:
    second = 0
    while True:
        await asyncio.sleep(1)
        second += 1
        screen.running(traffic, recorder, second)


@contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """Give an event that the first Ctrl-C sets; the second one ends the program."""
    stopped = asyncio.Event()
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    assert running is not None
    is_ended = False

    def stop() -> None:
        nonlocal is_ended
        if stopped.is_set():
            is_ended = True
            running.cancel()
        stopped.set()

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield stopped
    except asyncio.CancelledError:
        if is_ended:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
