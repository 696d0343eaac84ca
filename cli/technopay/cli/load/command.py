"""Runs a load test from its beginning to its verdict."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.console import ConsoleView, print_result
from technopay.cli.load.figures import make_result
from technopay.cli.load.fixtures import Setup
from technopay.cli.load.flows import SCENARIOS
from technopay.cli.load.plan import Condition, ScenarioName, failures
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.report import report_html
from technopay.cli.load.result import Plan, Result
from technopay.cli.load.server_metrics import ServerMetrics
from technopay.cli.load.timed_client import TimedClient, open_session
from technopay.cli.load.traffic import Traffic
from technopay.cli.load.verdict import judge
from technopay.cli.process import allow_connections, run_loop

OTHER_CONNECTIONS = 16
"""For the metrics, the set-up and the verdict."""

REQUESTS_PER_PURCHASE = 2
"""The most requests of one purchase under way at a time."""

EXIT_STATUS = {"clean": 0, "broken": 1, "unknown": 2}
CONDITION_HOLDS = 3


def run_load(
    plan: Plan,
    admin_token: str | None,
    report: Path | None,
    json: Path | None,
    console: Console,
    fail_if: Sequence[Condition] = (),
) -> int:
    """Run a load test, show it, write its files and return the exit status, or raise LoadError."""
    view = ConsoleView(console)
    with view.live:
        result = run_loop(measure(plan, admin_token, view))
    print_result(result, console)
    if json:
        json.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if report:
        report.write_text(report_html(result), encoding="utf-8")
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    failed = failures(fail_if, result)
    for line in failed:
        console.print(f"failed: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    return EXIT_STATUS[result.verdict.judgement] or (CONDITION_HOLDS if failed else 0)


def fit_plan(plan: Plan, *, is_default: bool) -> Plan:
    """Raise the limit of open files for a plan, as `allow_connections` does; a default can be lowered."""
    allowed = allow_connections(_connections(plan), "--concurrency", is_default=is_default)
    concurrency = max(1, (allowed - OTHER_CONNECTIONS) // REQUESTS_PER_PURCHASE)
    return plan.model_copy(update={"concurrency": concurrency})


async def measure(plan: Plan, admin_token: str | None, view: ConsoleView) -> Result:
    """Make users, let them buy, and judge the result."""
    scenario = SCENARIOS[ScenarioName(plan.scenario)]
    recorder, acknowledgements = Recorder(), Acknowledgements()
    async with open_session(plan.url, _connections(plan)) as session:
        view.step("making users and wallets", plan.users)
        setup = Setup(session, plan.url, TimedClient(session, recorder, acknowledgements))
        fixtures = await setup.make(admin_token, plan.users, view.advance)
        metrics = ServerMetrics(session)
        await metrics.read()
        with stop_on_signal() as stopped:
            traffic = Traffic(plan, scenario, fixtures, recorder, stopped)
            view.step(plan.scenario, round(plan.duration_s))
            began_at = datetime.now(UTC)
            watching = [
                asyncio.create_task(metrics.watch()),
                asyncio.create_task(_show(view, traffic, recorder)),
            ]
            await traffic.run()
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await metrics.read()
            verdict = await judge(fixtures, acknowledgements, view.step)
    return make_result(plan, began_at, recorder, traffic, metrics, verdict)


def _connections(plan: Plan) -> int:
    return REQUESTS_PER_PURCHASE * plan.concurrency + OTHER_CONNECTIONS


async def _show(view: ConsoleView, traffic: Traffic, recorder: Recorder) -> None:
    second = 0
    while True:
        await asyncio.sleep(1)
        second += 1
        view.show(traffic, recorder, second)


@contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """Return an event that the first Ctrl-C sets; the second one ends the program."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        loop.remove_signal_handler(signal.SIGINT)
