"""Backup and restore as in docs/operating.md: what was acknowledged before is there, and the books balance."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.processes.service import Service, assert_one_line, eventually, run_command, running_command
from support.servers.real_servers import OwnServer, own_server

SCRIPT = Path(__file__).parents[2] / "docs/operating/backup.sh"
SERVE = ("serve", "--demo", "--port", "0")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs Debian's redis-cli")


def status_of(service: Service, payment: dict[str, Any]) -> Any:
    status, found = service.ask("GET", f"/v1/payments/{payment['id']}", token=service.token())
    return found["status"] if status == 200 else found["code"]


def is_clean(home: Path, *store: str) -> bool:
    audit = run_command(home, "audit", *store)
    return audit.returncode == 0


def test_a_copy_of_the_data_directory_of_a_stopped_server_is_a_backup(home: Path) -> None:
    embedded = (*SERVE, "--data-dir", "data")
    with running_command(home, *embedded) as service:
        _, before = service.purchase()
        assert service.stop() == 0
    shutil.copytree(home / "data", home / "backup")
    with running_command(home, *embedded) as service:
        _, after = service.purchase("Café Central")
        assert service.stop() == 0

    shutil.rmtree(home / "data")
    shutil.copytree(home / "backup", home / "data")

    assert is_clean(home, "--data-dir", "data")
    with running_command(home, *embedded) as service:
        assert status_of(service, before) == "succeeded"
        assert status_of(service, after) == "payment_not_found", "it came after the backup"
        status, again = service.purchase("Café Central")
        assert (status, again["balance_before"]) == (200, before["balance_after"])


def back_up(server: OwnServer, target: Path) -> None:
    """Run the script of the documents, where redis-cli is installed."""
    if shutil.which("redis-cli") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have redis-cli (Debian's package redis-tools)")
        pytest.skip("redis-cli is not installed (Debian's package redis-tools)")
    environment = {**os.environ, "CLI": f"redis-cli -s {server.socket}"}
    ended = subprocess.run(
        ["sh", str(SCRIPT), str(target)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_running_server_is_backed_up_under_traffic_and_an_older_copy_needs_its_loss_accepted(
    home: Path,
) -> None:
    with own_server("valkey") as server, own_server("valkey") as restored:
        on_server, elsewhere = ({"TECHNOPAY_REDIS_URL": each.url} for each in (server, restored))
        with running_command(home, *SERVE, "--init", settings=on_server) as service:
            _, before = service.purchase()
            has_stopped = threading.Event()

            def create_users() -> None:
                operator, number = service.token(admin=True), 0
                while not has_stopped.is_set():
                    number += 1
                    body = {"id": f"demo-{number}", "email": "someone@example.com"}
                    assert service.ask("POST", "/v1/admin/users", body, operator)[0] == 201

            traffic = threading.Thread(target=create_users)
            traffic.start()
            try:
                # The script has to wait for the end of a rewrite, which replaces the files.
                server.say("BGREWRITEAOF")
                back_up(server, home / "backup")
            finally:
                has_stopped.set()
                traffic.join()
            percentage = server.say("CONFIG", "GET", "auto-aof-rewrite-percentage")
            assert percentage == {"auto-aof-rewrite-percentage": "100"}, "it is as it was"
            _, after = service.purchase("Café Central")

            # Into another server: the store is whole.
            restored.bring_back(home / "backup/appendonlydir")
            assert is_clean(home, "--redis", restored.url)
            with running_command(home, *SERVE, settings=elsewhere) as other:
                assert status_of(other, before) == "succeeded"
                assert status_of(other, after) == "payment_not_found"

            # Under a running engine: it has seen what is gone.
            server.bring_back(home / "backup/appendonlydir")
            eventually(lambda: "accept-loss" in service.output.read_text())
            assert service.ask("GET", "/readyz")[0] == 503
            ended = run_command(home, *SERVE, settings=on_server)
            assert_one_line(ended, 1, "accept-loss")
            accepted = run_command(home, "accept-loss", "--yes", settings=on_server)
            assert accepted.returncode == 0, accepted.stderr
            service.stop()

        assert is_clean(home, "--redis", server.url)
        with running_command(home, *SERVE, settings=on_server) as service:
            assert status_of(service, before) == "succeeded"
            assert service.purchase("Café Central")[0] == 200
