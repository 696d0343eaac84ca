"""docker-compose.yml: its ports, and the refusal of a lost store. No Docker is needed for it."""

import re
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from support.processes.service import assert_one_line, eventually, run_command, running_command
from support.servers.cluster_server import cluster_server

from technopay.storage.server.address import parse_address
from technopay.storage.server.embedded import server_binary

ROOT = Path(__file__).parents[2]
COMPOSE: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PASSWORD = "0123456789abcdef"
REQUIRED = re.compile(r"\$\{STORE_PASSWORD:\?[^}]+\}")


def test_ports_are_on_loopback_and_images_are_pinned() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for service in SERVICES.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", []))
        assert re.fullmatch(rf"valkey/valkey:\d+\.\d+\.\d+|technopay:{re.escape(version)}", service["image"])
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert images
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", image) for image in images)


@pytest.mark.parametrize("demo", ["demo", "cluster"])
def test_a_demo_runs_only_by_its_profile_and_on_a_store_of_its_own(demo: str) -> None:
    assert SERVICES[demo]["profiles"] == [demo]
    assert set(SERVICES[demo].get("environment", {})) <= {"TECHNOPAY_REDIS_URL", "TECHNOPAY_WAIT_REPLICAS"}
    others = [each for name, service in SERVICES.items() if name != demo for each in service.get("volumes", [])]
    assert SERVICES[demo]["volumes"] == [f"{demo}:/data"]
    assert f"{demo}:/data" not in others


def test_only_demos_have_demo_data() -> None:
    demos = [name for name, service in SERVICES.items() if "--demo" in service.get("command", ())]
    assert demos == ["demo", "cluster"]


def test_the_nodes_of_the_cluster_are_set_as_they_should_be_and_are_on_a_network_of_their_own(
    tmp_path: Path,
) -> None:
    names = [name for name in SERVICES if name.startswith("node-")]
    hosts = [SERVICES[name]["networks"]["nodes"]["ipv4_address"] for name in names]
    assert COMPOSE["networks"]["nodes"]["internal"] is True
    assert " ".join(f"{host}:6379" for host in hosts) in SERVICES["form"]["command"][-1]
    url = SERVICES["cluster"]["environment"]["TECHNOPAY_REDIS_URL"]
    assert {host for host, _ in parse_address(url).nodes} < set(hosts)
    assert [name for name, service in SERVICES.items() if "nodes" in service.get("networks", ())] == [
        *names, "form", "cluster",
    ]  # fmt: skip
    for name in names:
        _, *words = SERVICES[name]["command"]
        assert words == SERVICES["node-1"]["command"][1:]
    options = [part.strip("'") for word in words for part in word.split(" ", 1)]
    with cluster_server("valkey", *options) as running:
        settings = {"TECHNOPAY_REDIS_URL": running.url}
        assert run_command(tmp_path, "init", settings=settings).returncode == 0
        checked = run_command(tmp_path, "cluster", "check", settings=settings)
        assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_the_store_has_a_password_that_is_required_and_no_port() -> None:
    assert "ports" not in SERVICES["store"]
    assert REQUIRED.search(COMPOSE["configs"]["store"]["content"])
    assert REQUIRED.search(SERVICES["store"]["environment"]["REDISCLI_AUTH"])
    for name in ("init", "technopay"):
        assert REQUIRED.search(SERVICES[name]["environment"]["TECHNOPAY_REDIS_URL"])
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert text.count("STORE_PASSWORD:?") == 3


def test_init_runs_once_before_serve_and_its_mark_is_not_on_the_volume_of_the_store() -> None:
    init = SERVICES["init"]

    assert init["restart"] == "no"
    assert SERVICES["technopay"]["depends_on"]["init"] == {"condition": "service_completed_successfully"}
    assert [name for name, service in SERVICES.items() if "--init" in service.get("command", ())] == ["cluster"]
    mark = Path(init["command"][init["command"].index("--mark") + 1])
    volume = next(each.split(":")[0] for each in init["volumes"] if each.endswith(f":{mark.parent}"))
    assert volume in COMPOSE["volumes"]
    assert volume not in {each.split(":")[0] for each in SERVICES["store"]["volumes"]}


@contextmanager
def running_store(folder: Path, port: int) -> Iterator[None]:
    """Run the store of the file, on a folder as its volume."""
    folder.mkdir(exist_ok=True)
    config = folder.parent / "store.conf"
    config.write_text(REQUIRED.sub(PASSWORD, COMPOSE["configs"]["store"]["content"]))
    command = [server_binary(), str(config), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def listens() -> bool:
        assert process.poll() is None
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(listens)
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_a_store_whose_volume_was_lost_is_refused(tmp_path: Path) -> None:
    volume, mark = tmp_path / "store", tmp_path / "data" / "store-initialised"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mark.parent.mkdir()
    url = REQUIRED.sub(PASSWORD, SERVICES["init"]["environment"]["TECHNOPAY_REDIS_URL"])
    settings = {"TECHNOPAY_REDIS_URL": url.replace("store:6379", f"127.0.0.1:{port}")}
    init = [str(mark) if word == "/data/store-initialised" else word for word in SERVICES["init"]["command"]]
    serve = ["serve", "--port", "0"]

    with running_store(volume, port):
        for said in ("is initialised", "ours already", "ours already"):
            ended = run_command(tmp_path, *init, settings=settings)
            assert (ended.returncode, ended.stderr) == (0, "")
            assert said in ended.stdout
            assert mark.exists()
        with running_command(tmp_path, *serve, settings=settings) as service:
            assert service.ask("GET", "/readyz")[0] == 200
        mark.unlink()
        assert "ours already" in run_command(tmp_path, *init, settings=settings).stdout
        assert mark.exists()
        wrong = {"TECHNOPAY_REDIS_URL": settings["TECHNOPAY_REDIS_URL"].replace(PASSWORD, "wrong")}
        assert_one_line(run_command(tmp_path, *init, settings=wrong), 1, "password")

    shutil.rmtree(volume)
    with running_store(volume, port):
        assert_one_line(run_command(tmp_path, *init, settings=settings), 1, "its data is lost", str(mark))
        assert_one_line(run_command(tmp_path, *serve, settings=settings), 1, "never initialised")
        with Redis.from_url(settings["TECHNOPAY_REDIS_URL"]) as client:
            assert client.dbsize() == 0
        mark.unlink()
        assert "is initialised" in run_command(tmp_path, *init, settings=settings).stdout
