"""`technopay bench`, in small: every figure is measured and written down."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from technopay.cli.bench import memory, report

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
    "http_request_vs_bare",
    "http_confirm_vs_bare",
    "http_watched_vs_quiet",
    "http_refused_vs_bare",
    "foreign_vs_missing",
    "purchase_bytes",
    "idle_wallet_bytes",
    "live_actor_bytes",
    "ready_s",
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        "PURCHASES": 200, "WARM_UP": 200, "RIVAL_PURCHASES": 40, "WALLETS": 20, "MANY_WALLETS": 500,
        "FOREIGN_TRIES": 10,
    }  # fmt: skip
    for name, size in sizes.items():
        monkeypatch.setattr(report, name, size)
    monkeypatch.setattr(memory, "ACTORS", 200)
    monkeypatch.setattr(memory, "STARTS", 1)


def test_every_figure_is_shown_and_written_down(small: None, tmp_path: Path) -> None:
    shown = StringIO()
    report.run_bench(tmp_path / "figures.json", Console(file=shown, width=160))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == FIGURES
    assert all(value > 0 for name, value in figures.items() if name != "purchase_bytes")
    assert all(name in shown.getvalue() for name in FIGURES)
