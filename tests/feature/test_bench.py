"""`technopay bench` and the measurements of developers, at a small scale: every figure is recorded."""

import json
from io import StringIO
from pathlib import Path

import pytest
from measure import __main__ as measurements
from measure import process_costs
from rich.console import Console

from technopay.cli.bench import report
from technopay.cli.process import run_loop

FIGURES = {
    "engine_vs_ceiling",
    "engine_cpu_us",
    "engine_cpu_vs_sender",
    "store_cpu_us",
    "aof_bytes",
    "hot_wallet_vs_many",
    "million_vs_thousand",
    "confirm_p99_vs_script",
    "vs_redis_lock",
    "purchase_bytes",
    "idle_wallet_bytes",
}
MEASURED = {
    "http_request_vs_bare",
    "http_confirm_vs_bare",
    "http_watched_vs_quiet",
    "http_refused_vs_bare",
    "foreign_vs_missing",
    "live_actor_bytes",
    "ready_s",
}


def test_every_figure_is_shown_and_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = {"PURCHASES": 200, "WARM_UP": 200, "BASELINE_PURCHASES": 40, "WALLETS": 20, "MANY_WALLETS": 500}
    for name, size in sizes.items():
        monkeypatch.setattr(report, name, size)
    shown = StringIO()
    report.run_bench(tmp_path / "figures.json", Console(file=shown, width=160))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == FIGURES
    # The memory of so few records is lost in that of the server.
    noise = ("purchase_bytes", "idle_wallet_bytes")
    assert not {name: value for name, value in figures.items() if value <= 0 and name not in noise}
    assert all(name in shown.getvalue() for name in FIGURES)


def test_every_measurement_of_developers_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"PURCHASES": 200, "WALLETS": 20, "FOREIGN_TRIES": 10}.items():
        monkeypatch.setattr(measurements, name, size)
    monkeypatch.setattr(process_costs, "ACTORS", 200)
    monkeypatch.setattr(process_costs, "STARTS", 1)
    figures = run_loop(measurements.measure())
    assert {figure.name for figure in figures} == MEASURED
    assert all(figure.value > 0 for figure in figures)
