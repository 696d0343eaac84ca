"""`technopay load` against real servers: a sound one, broken ones, one that dies; and ended by Ctrl-C."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.fixtures.broken_store import (
    DOUBLE_DEBIT,
    FORGOTTEN_PAYMENTS,
    LEAKING_LIMIT,
    LYING_AUDIT,
    UNCOUNTED_DEBITS,
    Breakages,
    settings_with_broken_store,
)
from support.fixtures.http_api import running_api
from support.fixtures.load import make_plan
from support.processes.service import (
    Service,
    assert_one_line,
    environment,
    eventually,
    run_command,
    running_command,
)

from technopay.cli.load import fixtures as fixtures_module
from technopay.cli.load import verdict as verdict_module
from technopay.cli.load.command import measure, run_load
from technopay.cli.load.console import ConsoleView
from technopay.cli.load.flows import SCENARIOS
from technopay.cli.load.plan import LoadError
from technopay.cli.load.result import Result
from technopay.http.client import RetryPolicy
from technopay.storage import RedisStore

DEMO = ("serve", "--demo", "--port", "0", "--data-dir", "data")
CLEAN, BROKEN, COULD_NOT_RUN, FAILED, INTERRUPTED = 0, 1, 2, 3, 130

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A sound server. Its books have to balance at the end."""
    with running_command(tmp_path_factory.mktemp("sound"), *DEMO) as served:
        yield served


def run(service: Service, **plan: Any) -> Result:
    """Run a load test in this process."""
    asked = make_plan(url=service.url, **plan)
    return asyncio.run(measure(asked, None, ConsoleView(Console(file=StringIO()))))


def count(result: Result, operation: str, code: str) -> int:
    return sum(each.count for each in result.outcomes if (each.operation, each.code) == (operation, code))


def assert_sound(result: Result) -> None:
    assert result.verdict.clean, result.verdict
    assert {flow.name: flow.surprises for flow in result.stories} == {flow.name: {} for flow in result.stories}
    assert sum(flow.as_expected for flow in result.stories) > 0


def test_a_mixture_at_a_rate_is_clean_and_every_flow_ends_as_expected(service: Service, tmp_path: Path) -> None:
    ended = run_command(
        tmp_path, "load", "--url", service.url, "--users", "10", "--rate", "20", "--duration", "3",
        "--report", "report.html", "--json", "figures.json",
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (CLEAN, "")
    assert "report: report.html" in ended.stdout
    assert any(line.startswith("clean: ") for line in ended.stdout.splitlines())
    assert (tmp_path / "report.html").stat().st_size > 0
    result = Result.model_validate_json((tmp_path / "figures.json").read_text())
    assert_sound(result)
    begun = {flow.name: flow.begun for flow in result.stories}
    assert set(begun) == {flow.__name__ for flow in SCENARIOS[next(iter(SCENARIOS))].flows}
    assert all(begun.values()), begun
    assert sum(begun.values()) == pytest.approx(60, abs=1)
    assert all(flow.begun == flow.ended for flow in result.stories)
    assert result.series.at_s[:3] == [0.0, 1.0, 2.0]
    assert result.server.cpu_us_per_request is not None


def test_a_condition_that_holds_fails_a_clean_run_and_a_wrong_one_is_refused(
    service: Service, tmp_path: Path
) -> None:
    load = ("load", "--url", service.url, "--scenario", "plain", "--users", "2", "--duration", "1")
    held = ("--fail-if", "p99_ms>0.001", "--fail-if", "rejected>99%", "--fail-if", "per_s<1000000")
    ended = run_command(tmp_path, *load, *held)

    assert ended.returncode == FAILED
    last = ended.stdout.splitlines()[-2:]
    assert [line.partition(": ")[:2] for line in last] == [("failed", ": ")] * 2
    assert "p99_ms>0.001: p99_ms is " in last[0]
    assert "per_s<1000000: per_s is " in last[1]
    assert_one_line(run_command(tmp_path, *load, "--fail-if", "p98_ms>1"), COULD_NOT_RUN, "p99_ms", "rejected")


@pytest.mark.parametrize("scenario", ["plain", "hot-wallet", "duplicates"])
def test_other_scenarios_are_clean(service: Service, scenario: str) -> None:
    result = run(service, scenario=scenario, duration_s=1.0, users=2)

    assert_sound(result)
    assert count(result, "purchase", "succeeded") > 0
    assert not result.ended_early


def test_a_limit_runs_out_on_the_way_and_is_never_passed(service: Service) -> None:
    before = daily_limit(service)
    result = run(service, scenario="limit-race", duration_s=2.0, concurrency=8, users=8)
    after = daily_limit(service)

    assert_sound(result)
    paid = count(result, "purchase", "succeeded")
    assert paid > 0
    assert count(result, "purchase", "daily_limit_exceeded") > 0
    assert after["used"] - before["used"] == 100 * paid
    assert 0 <= after["remaining"] < 100


def daily_limit(service: Service) -> Any:
    """Return the daily limit with the store's own count; before the first run nothing is used."""
    _, limits = service.ask("GET", "/v1/admin/limits", token=service.token("op", admin=True))
    return next((each for each in limits["data"] if each["currency"] == "FKP"), {"used": 0})


@contextmanager
def broken_service(home: Path, *breakages: Breakages) -> Iterator[Service]:
    settings = settings_with_broken_store(home / "overlay", *breakages)
    with running_command(home, *DEMO, settings=settings, is_audited=False) as served:
        yield served


@pytest.mark.parametrize(
    ("breakages", "scenario", "own", "audited"),
    [
        (
            [DOUBLE_DEBIT, UNCOUNTED_DEBITS],
            "plain",
            {"balance_is_sum_of_entries", "limit_is_sum_of_debits"},
            {"balance_is_sum_of_entries", "limit_is_sum_of_debits"},
        ),
        ([LEAKING_LIMIT], "limit-race", {"limit_is_sum_of_debits"}, {"limit_is_sum_of_debits"}),
        (
            [FORGOTTEN_PAYMENTS, LYING_AUDIT],
            "plain",
            {"acknowledged_is_kept", "balance_is_sum_of_entries"},
            set(),
        ),
    ],
    ids=["double debit", "leaking limit", "forgotten payments and a lying audit"],
)
def test_a_server_that_is_broken_is_seen_to_be(
    tmp_path: Path, breakages: Sequence[Breakages], scenario: str, own: set[str], audited: set[str]
) -> None:
    with broken_service(tmp_path, *breakages) as served:
        ended = run_command(
            tmp_path, "load", "--url", served.url, "--scenario", scenario, "--users", "8",
            "--concurrency", "16", "--duration", "1", "--json", "figures.json", "--fail-if", "p50_ms>0",
        )  # fmt: skip
        served.process.kill()

    assert (ended.returncode, ended.stderr) == (BROKEN, "")
    verdict = Result.model_validate_json((tmp_path / "figures.json").read_text()).verdict
    assert {line.partition(":")[0] for line in verdict.differences} == own
    assert verdict.audit is not None
    assert {difference.invariant for difference in verdict.audit.differences} >= audited
    (last,) = (line for line in ended.stdout.splitlines() if line.startswith("BROKEN: "))
    assert all(name in last for name in own)


@contextmanager
def running_load(home: Path, service: Service, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a load test as a process; wait until it has made purchases."""
    output = home / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "technopay.cli", "load", "--url", service.url, *arguments],
            cwd=home, env=environment(home), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        eventually(lambda: process.poll() is not None or "plain …" in output.read_text())
        token = service.token("op", admin=True)

        def is_paying() -> bool:
            _, page = service.ask("GET", "/v1/admin/payments?limit=1", token=token)
            return bool(page["data"]) and page["data"][0]["created_at"] > began_at

        _, user = service.ask("POST", "/v1/admin/users", {"id": f"clock-{process.pid}"}, token)
        began_at = user["created_at"]
        eventually(is_paying)
        yield process
    finally:
        process.kill()
        process.wait()


def test_control_c_ends_the_run_and_not_its_verdict(service: Service, tmp_path: Path) -> None:
    with running_load(
        tmp_path, service, "--scenario", "plain", "--report", "report.html", "--json", "figures.json"
    ) as process:
        process.send_signal(signal.SIGINT)
        status = process.wait(20)

    output = (tmp_path / "output").read_text()
    assert status == CLEAN, output
    assert "Outcomes" in output
    assert any(line.startswith("clean: ") for line in output.splitlines())
    assert (tmp_path / "report.html").stat().st_size > 0
    result = json.loads((tmp_path / "figures.json").read_text())
    assert result["ended_early"] is True
    assert result["ran_s"] < 30


def test_a_second_control_c_ends_it_at_once(service: Service, tmp_path: Path) -> None:
    with running_load(tmp_path, service, "--scenario", "plain") as process:
        # No purchase under way can end, so the first signal is still being handled when the second one comes.
        os.kill(service.process.pid, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGINT)
            status = process.wait(5)
        finally:
            os.kill(service.process.pid, signal.SIGCONT)

    output = (tmp_path / "output").read_text()
    assert status == INTERRUPTED, output
    assert "Traceback" not in output
    assert "clean" not in output


def test_a_dead_server_leaves_no_verdict_but_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixtures_module, "CODE_WAIT_S", 1.0)
    monkeypatch.setattr(verdict_module, "LOOK_PAUSE_S", 0.01)
    monkeypatch.setattr(fixtures_module, "PATIENCE", RetryPolicy(retries=1, backoff_s=0.01))
    shown = StringIO()
    with running_command(tmp_path, *DEMO, is_audited=False) as served:

        class Killer(ConsoleView):
            """Kills the server after the first second."""

            def show(self, *arguments: Any) -> None:
                super().show(*arguments)
                served.process.kill()

        monkeypatch.setattr("technopay.cli.load.command.ConsoleView", Killer)
        plan = make_plan(url=served.url, scenario="plain", duration_s=4.0)
        status = run_load(
            plan, None, tmp_path / "report.html", tmp_path / "figures.json", Console(file=shown, width=120)
        )

    assert status == COULD_NOT_RUN
    result = Result.model_validate_json((tmp_path / "figures.json").read_text())
    assert result.verdict.judgement == "unknown"
    assert result.verdict.problem is not None
    assert result.verdict.problem.startswith("reading the payments failed: The server cannot be reached.")
    assert f"no verdict: {result.verdict.problem}" in " ".join(shown.getvalue().split())
    assert count(result, "purchase", "succeeded") > 0
    assert count(result, "invoice", "not_connected") > 0
    assert (tmp_path / "report.html").stat().st_size > 0


def test_a_server_without_demo_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    async def main() -> None:
        async with RedisStore.fake() as store, running_api(store, demo=False) as api:
            url = str(api.client.make_url("/")).rstrip("/")
            with pytest.raises(LoadError, match="start it with --demo"):
                await measure(
                    make_plan(url=url), api.token("op", admin=True), ConsoleView(Console(file=StringIO()))
                )

            assert (await api.operate("GET", "/limits")).expect(200)["data"] == []

    asyncio.run(main())


def test_a_token_without_the_admin_scope_is_refused(service: Service, tmp_path: Path) -> None:
    for token, code in ((service.token(), "forbidden"), ("nonsense", "unauthenticated")):
        with pytest.raises(LoadError, match=code):
            asyncio.run(measure(make_plan(url=service.url), token, ConsoleView(Console(file=StringIO()))))
