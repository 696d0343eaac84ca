"""The unit of systemd and the manifests of Kubernetes: their settings, probes, ports and commands exist."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from technopay.cli.main import app
from technopay.cli.service_variables import OWNERS
from technopay.cli.settings import FROM_FILES, Settings, load_settings
from technopay.cli.workers.supervisor import DRAIN_S_MAX
from technopay.http.api.health import HEALTH_ROUTES

ROOT = Path(__file__).parents[2]
OPERATING = ROOT / "docs/operating"
UNIT = OPERATING / "technopay.service"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((OPERATING / "kubernetes.yml").read_text()))
BY_KIND = {each["kind"]: each for each in MANIFESTS}
DEPLOYMENT = BY_KIND["Deployment"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
[CONTAINER] = POD["containers"]
[INIT] = BY_KIND["Job"]["spec"]["template"]["spec"]["containers"]
PORTS = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
COMMANDS = {
    command.name or command.callback.__name__ for command in app.registered_commands if command.callback
}
NAMES = {name.upper() for name in Settings.model_fields} | {f"{name}_FILE".upper() for name in FROM_FILES}


@pytest.mark.parametrize("name", ["kubernetes.yml", "technopay.service", "installing.md"])
def test_every_setting_in_a_file_for_operators_exists(name: str) -> None:
    text = (OPERATING / name).read_text(encoding="utf-8")
    named = set(re.findall(r"TECHNOPAY_([A-Z_]+)", text))
    assert {
        each for each in named - NAMES if not each.startswith(tuple(f"{s.upper()}_" for s in OWNERS))
    } == set()


def test_the_settings_of_the_manifests_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"secret": "9f2c1e-of-tests-only-7b40d8-unprinted", "redis-url": "redis://:word@store:6379"}
    for name, value in values.items():
        (tmp_path / name).write_text(value)
    monkeypatch.chdir(tmp_path)
    for name, value in BY_KIND["ConfigMap"]["data"].items():
        assert isinstance(value, str), "Kubernetes takes texts only"
        monkeypatch.setenv(name, value.replace("/etc/technopay", str(tmp_path)))
    settings = load_settings()
    assert settings.redis_url == values["redis-url"]
    assert {"http": settings.port, "metrics": settings.metrics_port} == PORTS
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "0.0.0.0")
    text = (OPERATING / "kubernetes.yml").read_text()
    assert set(re.findall(r"--from-literal=([\w-]+)=", text)) == set(values), "the keys of the Secret"


def test_probes_ports_labels_and_times_of_the_manifests_fit_together() -> None:
    paths = {route.path for route in HEALTH_ROUTES}
    probes = [CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/livez", "/readyz"]
    assert {probe["path"] for probe in probes} <= paths
    [service_port] = BY_KIND["Service"]["spec"]["ports"]
    assert {probe["port"] for probe in probes} | {service_port["targetPort"]} <= set(PORTS)
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert BY_KIND[kind]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["Service"]["spec"]["selector"] == labels
    [*_, pause_s] = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert POD["terminationGracePeriodSeconds"] > int(pause_s) + DRAIN_S_MAX
    assert POD["enableServiceLinks"] is False


def test_the_manifests_run_commands_and_the_image_that_exist() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    user = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user
    assert POD["securityContext"]["runAsUser"] == int(user[1])
    for container in (CONTAINER, INIT):
        assert container["image"] == f"technopay:{version}"
        assert container["args"][0] in COMMANDS
        assert {each["configMapRef"]["name"] for each in container["envFrom"]} == {"technopay"}
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in POD["volumes"]}


def test_the_unit_serves_and_leaves_time_to_drain() -> None:
    options = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert options["ExecStart"].split()[1] in COMMANDS
    assert int(options["TimeoutStopSec"]) > DRAIN_S_MAX
    assert options["KillMode"] == "mixed", "workers and store are ended by the server, not by systemd"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have systemd-analyze (Debian's package systemd)")
        pytest.skip("systemd-analyze is not installed (Debian's package systemd)")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/technopay/bin/technopay", "/bin/true"))
    command = ["systemd-analyze", "verify", str(unit)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    about = [line for line in ended.stderr.splitlines() if UNIT.name in line]
    assert (ended.returncode, about) == (0, []), ended.stderr
