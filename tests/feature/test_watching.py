"""The alert rules, the runbook and the dashboard: true to what `/metrics` exports, and checked by promtool."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.processes.service import eventually, running_command

from technopay.engine import StoreGauges
from technopay.http.app import API_ROUTES
from technopay.http.metrics import store_metrics

OPERATING = Path(__file__).parents[2] / "docs/operating"
ALERTS = OPERATING / "alerts.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
UNIT_TESTS = Path(__file__).with_name("alerts_test.yml")
DASHBOARD: dict[str, Any] = json.loads((OPERATING / "grafana-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel.get("targets", ())
}
EXPRESSIONS = {**{rule["alert"]: rule["expr"] for rule in RULES}, **QUERIES}
METRIC = re.compile(r"\b((?:technopay|process)_\w+)(?:\{([^{}]*(?:\{\w+\}[^{}]*)*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
OF_PROMETHEUS = {"job", "instance", "le"}
FULL = StoreGauges(
    message_age_ms=0, payments_set_aside=0, set_aside_age_ms=0, partitions_unreachable=0, limits=[],
    memory_bytes=1, memory_bytes_max=1,
)  # fmt: skip

Labels = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """The metrics of two workers after a purchase: by name, then by label, its values."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the metrics of processes are read from /proc")
    home, arguments = (
        tmp_path_factory.mktemp("watching"),
        ("--port", "0", "--data-dir", "data", "--workers", "2"),
    )
    with running_command(home, "serve", "--demo", *arguments) as service:
        assert service.purchase()[0] == 200

        def read() -> str:
            with urllib.request.urlopen(f"{service.url}/metrics", timeout=20) as response:
                text: str = response.read().decode()
            return text if 'outcome="succeeded"' in text else ""

        text = eventually(read)
    found: Labels = {each.name: {} for each in store_metrics(FULL)}
    for family in text_string_to_metric_families(text):
        # A family without samples is exported all the same.
        suffix = "_total" if family.type == "counter" else ""
        found.setdefault(family.name + suffix, {})
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_metric_and_label_of_an_expression_is_exported(exported: Labels, name: str) -> None:
    metrics = METRIC.findall(EXPRESSIONS[name])
    assert metrics or name == "TechnopayDown", EXPRESSIONS[name]
    for metric, selector in metrics:
        assert metric in exported
        for label, _, value in MATCHER.findall(selector):
            known = exported[metric]
            assert label in OF_PROMETHEUS or not known or label in known, label
            if label == "route" and ".*" not in value:
                assert value in {route.path for route in API_ROUTES}
            assert label != "outcome" or set(value.split("|")) <= {"succeeded", "settlement_failed"}


def test_every_exported_metric_is_in_the_documents(exported: Labels) -> None:
    text = (OPERATING.parent / "operating.md").read_text(encoding="utf-8")
    named = {
        re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exported if name.startswith("technopay_")
    }
    assert {name for name in named if f"`{name}`" not in text} == set()


def test_every_alert_has_its_severity_and_its_place_in_the_runbook() -> None:
    text = (OPERATING / "alerts.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### (\w+)\n\n(.+?)(?=\n### |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(entries) == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["runbook_url"] == f"docs/operating/alerts.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]


def test_every_alert_is_seen_to_fire_and_to_be_quiet_by_a_unit_test() -> None:
    tests = [
        each for group in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for each in group["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in RULES}
    assert {each["alertname"] for each in tests if each.get("exp_alerts")} == names
    assert {each["alertname"] for each in tests if not each.get("exp_alerts")} == names


def test_the_panels_of_the_dashboard_are_on_one_grid() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) <= variables


def promtool(folder: Path, *arguments: str) -> None:
    """Run promtool in a folder; where it is not installed, the test is skipped, but fails in CI."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have promtool (Debian's package prometheus)")
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    ended = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_accepts_the_rules_and_their_unit_tests(tmp_path: Path) -> None:
    for file in (ALERTS, UNIT_TESTS):
        shutil.copy(file, tmp_path)
    promtool(tmp_path, "check", "rules", ALERTS.name)
    promtool(tmp_path, "test", "rules", UNIT_TESTS.name)


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"panel:{number}",
            "expr": query.replace("$__rate_interval", "5m").replace("$currency", ".*"),
        }
        for number, query in enumerate(QUERIES.values())
    ]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool(tmp_path, "check", "rules", "queries.yml")
