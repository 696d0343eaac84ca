"""Runs a load test from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from technopay.cli.load.errors import LoadError
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

CLEAN, BROKEN, NO_VERDICT = 0, 1, 2


def run_load(
    plan: Plan, admin_token: str | None, report: Path | None, json: Path | None, console: Console
) -> int:
    """Run a load test, show it, write it to the files that are named; answer the exit status.

    Raises:
        LoadError: there is none to be had.

    """
    for file in (report, json):
        if file is not None and not file.parent.is_dir():
            raise LoadError(f"there is no directory {file.parent} to write {file.name} to")
    screen = Screen(console)
    with screen.shown():
        result = run_loop(measure(plan, admin_token, screen))
    print_result(result, console)
    if json:
        json.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if report:
        report.write_text(page_html(result), encoding="utf-8")
        console.print(f"report: {report}", highlight=False, soft_wrap=True)
    if result.verdict.is_broken:
        return BROKEN
    return CLEAN if result.verdict.clean else NO_VERDICT


async def measure(plan: Plan, admin_token: str | None, screen: Screen) -> Result:
    """Make users, let them buy, and judge what came of it."""
    connections = AT_MOST_TWICE * plan.concurrency + OTHER_CONNECTIONS
    allow_connections(connections, "--concurrency")
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
            began_at, cpu_s = datetime.now(UTC), time.process_time()
            watching = [
                asyncio.create_task(vitals.watch()),
                asyncio.create_task(_show(screen, traffic, recorder)),
            ]
            await traffic.run()
            cpu_s = time.process_time() - cpu_s
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await vitals.read()
            verdict = await judge(session, scene, journal, screen.step)
    return make_result(plan, began_at, recorder, traffic, vitals, cpu_s, verdict, ended_early=stopped.is_set())


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
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        loop.remove_signal_handler(signal.SIGINT)
