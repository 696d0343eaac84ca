"""`/metrics` at an address of its own: there, and only there, with one process and with several."""

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.processes.service import assert_one_line, eventually, run_command, running_command

DEMO = ("serve", "--demo", "--port", "0", "--data-dir", "data")
OWN = {"TECHNOPAY_METRICS_PORT": "0"}
METRICS = re.compile(r"metrics on (http://127\.0\.0\.1:\d+)/metrics")
PAID = re.compile(r'^technopay_payments_total{currency="EUR",outcome="succeeded"[^}]*} 1.0$', re.MULTILINE)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="serves on inherited sockets")


def read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("workers", [1, 2])
def test_metrics_are_at_their_own_address_and_nowhere_else(home: Path, workers: int) -> None:
    with running_command(home, *DEMO, "--workers", str(workers), settings=OWN) as service:
        found = METRICS.search(service.output.read_text())
        assert found
        assert found[1] != service.url
        assert service.purchase()[0] == 200

        def look() -> str:
            shown = read(f"{found[1]}/metrics")[1]
            return shown if PAID.search(shown) else ""

        text = eventually(look)
        names = re.findall(r'^technopay_worker_up{worker="(\d)"} 1.0$', text, re.MULTILINE)
        assert names == ([] if workers == 1 else ["0", "1"])
        for path in ("/", "/livez", "/v1/wallets", "/metrics/"):
            assert read(found[1] + path)[0] == 404, "nothing else is there"
        status, problem = read(f"{service.url}/metrics")
        assert (status, json.loads(problem)["code"]) == (404, "not_found")
        paths = json.loads(read(f"{service.url}/openapi.json")[1])["paths"]
        assert "/livez" in paths
        assert "/metrics" not in paths
        assert service.stop() == 0
        assert "Traceback" not in service.output.read_text()


def test_a_metrics_address_that_cannot_be_used_is_refused_in_one_line(home: Path) -> None:
    with running_command(home, *DEMO) as service:
        taken = {"TECHNOPAY_METRICS_PORT": service.url.rpartition(":")[2]}
        for workers in ("1", "2"):
            ended = run_command(
                home,
                "serve",
                "--demo",
                "--port",
                "0",
                "--data-dir",
                "other",
                "--workers",
                workers,
                settings=taken,
            )
            assert_one_line(ended, 1, "cannot listen on 127.0.0.1:", taken["TECHNOPAY_METRICS_PORT"])
    ended = run_command(home, *DEMO, settings={"TECHNOPAY_METRICS_HOST": "10.0.0.1"})
    assert_one_line(ended, 1, "TECHNOPAY_METRICS_HOST: needs TECHNOPAY_METRICS_PORT")
    ended = run_command(
        home, *DEMO, settings={"TECHNOPAY_METRICS_HOST": "10.0.0.1", "TECHNOPAY_METRICS_PORT": "x"}
    )
    assert_one_line(ended, 1, "TECHNOPAY_METRICS_PORT: has to be")
