"""The `technopay` command as users run it: a process with an embedded store or a server, stopped and killed."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from support.fixtures.old_store import load_old_store
from support.processes.service import (
    Service,
    assert_one_line,
    eventually,
    is_running,
    purchase_under_way,
    run_command,
    running_command,
)

from technopay.storage import EmbeddedValkey

MOCK_SERVICES = ("TECHNOPAY_SETTLEMENT", "TECHNOPAY_EMAIL", "TECHNOPAY_SMS")
DEMO = ("serve", "--demo", "--port", "0", "--data-dir", "data")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


def configure(url: str, name: str, value: str) -> None:
    with Redis.from_url(url) as client:
        client.config_set(name, value)


def is_draining(service: Service) -> bool:
    status, health = service.ask("GET", "/readyz")
    return status == 503 and health["status"] == "draining"


def payment(service: Service, payment_id: str) -> Any:
    status, found = service.ask("GET", f"/v1/payments/{payment_id}", token=service.token())
    assert status == 200
    return found


def test_what_was_confirmed_survives_the_kill_of_the_server_and_what_was_under_way_is_finished(
    home: Path,
) -> None:
    with running_command(home, *DEMO, settings={"TECHNOPAY_CODES_PER_HOUR": "1"}) as service:
        # Two codes within the hour: a demo has no limits on behaviour.
        first, processing = service.purchase("acme-slow", "?wait=0")
        second, paid = service.purchase()
        store = service.children()
        service.process.kill()
        service.process.wait()
    assert (first, processing["status"]) == (202, "processing")
    assert (second, paid["status"]) == (200, "succeeded")
    eventually(lambda: not any(is_running(pid) for pid in store))

    with running_command(home, *DEMO) as service:
        assert payment(service, paid["id"]) == paid
        # The killed server's claim on the settlement has to run out first.
        final = eventually(
            lambda: (found := payment(service, processing["id"]))["status"] != "processing" and found
        )
        assert (final["status"], final["paid_at"]) == ("succeeded", processing["paid_at"])
        status, again = service.purchase("Café Central")
        assert (status, again["balance_before"]) == (200, paid["balance_after"])


def test_the_kill_of_the_embedded_store_is_got_over(home: Path) -> None:
    with running_command(home, *DEMO) as service:
        _, paid = service.purchase()
        (store,) = service.children()

        os.kill(store, signal.SIGKILL)

        eventually(lambda: (pids := service.children()) and store not in pids)

        def look() -> bool:
            status, _ = service.ask("GET", "/readyz")
            assert status in (200, 503)
            return status == 200

        eventually(look)
        assert payment(service, paid["id"]) == paid
        status, again = service.purchase("Café Central")
        assert (status, again["status"]) == (200, "succeeded")


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_its_store_after_the_requests_under_way(
    home: Path, name: signal.Signals
) -> None:
    with running_command(home, *DEMO) as service:
        store = service.children()
        assert store
        purchase = purchase_under_way(service)

        service.process.send_signal(name)
        eventually(lambda: is_draining(service))
        assert service.process.wait(30) == 0
        status, paid = purchase()

        assert (status, paid["status"]) == (200, "succeeded")
        assert not any(is_running(pid) for pid in store)
        assert "technopay: draining" in service.output.read_text()
        assert "Traceback" not in service.output.read_text()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_demo_once_prints_a_receipt_and_leaves_nothing_running_and_runs_once_per_data(
    home: Path, encoding: str
) -> None:
    once, settings = ("demo", "--once", "--data-dir", "data"), {"PYTHONIOENCODING": encoding}
    ended = run_command(home, *once, settings=settings)

    assert (ended.returncode, ended.stderr) == (0, "")
    for word in ("succeeded", "12.50 EUR", "Café Central", "500.00 EUR → 487.50 EUR", "pay_", "inv_"):
        assert word.encode(encoding, "replace").decode() in ended.stdout
    assert_one_line(run_command(home, *once, settings=settings), 1, "paid already", "--data-dir")


def test_a_data_directory_is_used_by_one_process_and_with_one_secret(home: Path) -> None:
    with running_command(home, *DEMO) as service:
        ended = run_command(home, *DEMO)

        assert_one_line(ended, 1, "in use by process", str(service.process.pid))
        assert service.ask("GET", "/readyz")[0] == 200

    ended = run_command(home, *DEMO, settings={"TECHNOPAY_SECRET": "another secret, just as long as that"})
    assert_one_line(ended, 1, "TECHNOPAY_SECRET")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_logs_once_the_live_codes_of_each_secret(home: Path, workers: str) -> None:
    serve = ("serve", "--port", "0", "--data-dir", "data", "--workers", workers)
    settings = {"TECHNOPAY_SECRET_PREVIOUS": "the next secret of tests and of tests alone"}

    with running_command(home, *serve, settings=settings) as service:
        assert service.stop() == 0

    told = [line for line in service.output.read_text().splitlines() if "live codes" in line]
    assert len(told) == 1
    assert "live codes: 0 of TECHNOPAY_SECRET, 0 of item 1 of TECHNOPAY_SECRET_PREVIOUS, 0 of" in told[0]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_named_and_nothing_is_left_behind(home: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_command(home, "serve", "--port", str(port), "--data-dir", "data", "--workers", workers)

    assert_one_line(ended, 1, f"127.0.0.1:{port}", "address already in use")
    assert not (home / "data" / "valkey.sock").exists()


def test_serve_without_demo_has_neither_demo_data_nor_mocks(home: Path) -> None:
    with running_command(home, "serve", "--port", "0") as service:
        assert (home / "share" / "technopay" / "lock").exists()
        assert service.ask("GET", "/readyz")[0] == 200
        assert service.ask("GET", "/mock/inbox/demo-alice")[0] == 404
        token = run_command(home, "token", "--user", "op", "--admin").stdout.strip()
        assert service.ask("GET", "/v1/admin/users/demo-alice", token=token)[0] == 404


def test_serve_with_workers_without_services_is_refused_before_the_start(home: Path) -> None:
    arguments = ("serve", "--port", "0", "--data-dir", "data", "--workers", "2")
    for settings, problem in (
        (dict.fromkeys(MOCK_SERVICES), "set TECHNOPAY_SETTLEMENT and TECHNOPAY_EMAIL or TECHNOPAY_SMS: "),
        ({"TECHNOPAY_SMS": "no_such_module:make"}, "TECHNOPAY_SMS=no_such_module:make: ModuleNotFoundError: "),
    ):
        assert_one_line(run_command(home, *arguments, settings=settings), 1, problem)
    assert not (home / "data").exists()


def test_mocks_that_are_named_serve_with_a_warning_and_keep_no_code(home: Path) -> None:
    with running_command(home, "serve", "--port", "0", "--data-dir", "data") as service:
        eventually(lambda: f"{MOCK_SERVICES[-1]}=mock: " in service.output.read_text())
        for name in MOCK_SERVICES:
            assert service.output.read_text().count(f"{name}=mock: ") == 1
        assert service.ask("GET", "/readyz") == (200, {"status": "ok", "mocks": ["settlement", "email", "sms"]})
        with urllib.request.urlopen(f"{service.url}/metrics", timeout=20) as answer:
            assert b'technopay_service_is_mock{service="sms"} 1.0' in answer.read()
        operator = run_command(home, "token", "--user", "op", "--admin").stdout.strip()
        user = run_command(home, "token", "--user", "alice").stdout.strip()
        payment = start(service, operator, user)
        url = f"unix://{home / 'data' / 'valkey.sock'}"

        def delivered() -> list[str]:
            with Redis.from_url(url, decode_responses=True) as client:
                return [line for key in client.scan_iter("*mock:inbox*") for line in client.lrange(key, 0, -1)]

        (message,) = eventually(delivered)

    assert payment["status"] == "requires_confirmation"
    assert "••••••" in json.loads(message.partition(" ")[2])["text"]
    assert not re.search(r"\b[0-9]{6}\b", json.loads(message.partition(" ")[2])["text"])
    assert "code" not in json.loads(message.partition(" ")[2])


def start(service: Service, operator: str, user: str) -> Any:
    """Make a user with a wallet and an invoice, and start a payment."""
    assert service.ask("POST", "/v1/admin/users", {"id": "alice", "email": "a@example.com"}, operator)[0] == 201
    _, wallet = service.ask("POST", "/v1/admin/wallets", {"user_id": "alice", "currency": "EUR"}, operator)
    service.ask("POST", f"/v1/admin/wallets/{wallet['id']}/deposit", {"amount": 5_000}, operator)
    invoice = {"user_id": "alice", "amount": 1_250, "currency": "EUR", "merchant": "Bookshop"}
    _, invoice = service.ask(
        "POST", "/v1/admin/invoices", invoice | {"expires_at": "2099-01-01T00:00:00Z"}, operator
    )
    status, payment = service.ask(
        "POST", "/v1/payments", {"invoice_id": invoice["id"], "wallet_id": wallet["id"]}, user
    )
    assert status == 201, payment
    return payment


def test_a_server_is_initialised_on_purpose_and_once(home: Path, server: str) -> None:
    redis = ("--redis", server)
    nowhere = run_command(home, "serve", "--redis", "redis://127.0.0.1:1", "--port", "0")
    assert_one_line(nowhere, 1, "127.0.0.1:1")
    assert_one_line(run_command(home, "serve", *redis, "--port", "0"), 1, "never initialised", "serve --init")

    first = run_command(home, "init", *redis)
    assert (first.returncode, first.stderr) == (0, "")
    assert "initialised" in first.stdout
    again = run_command(home, "init", *redis)
    assert (again.returncode, again.stderr) == (0, "")
    assert "ours already; it was left as it is" in again.stdout

    with running_command(home, "serve", *redis, "--port", "0") as service:
        assert service.ask("GET", "/readyz")[0] == 200
        assert service.children() == []
        assert service.stop() == 0


def test_a_server_of_an_earlier_version_is_migrated_by_command_and_once(home: Path, server: str) -> None:
    facts = asyncio.run(load(server))
    redis, own = ("--redis", server), {"TECHNOPAY_SECRET": facts["secret"]}
    for command, status in (("serve", 1), ("serve --init", 1), ("init", 1), ("audit", 2)):
        port = ("--port", "0") if "serve" in command else ()
        refused = run_command(home, *command.split(), *redis, *port, settings=own)
        assert_one_line(refused, status, "the store has schema 5, this program 7: run `technopay migrate`")

    first, again = (run_command(home, "migrate", *redis, settings=own) for _ in range(2))
    assert (first.returncode, first.stdout) == (0, "technopay: the store is migrated\n")
    assert "the store of schema 5 is migrated to 7" in first.stderr
    assert "WARNING" not in first.stderr
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "technopay: the store has the schema of this program already\n"

    with running_command(home, "serve", *redis, "--port", "0", settings=own) as service:
        assert service.ask("GET", "/readyz")[0] == 200
        assert service.stop() == 0
    assert run_command(home, "audit", *redis, settings=own).returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_embedded_store_of_an_earlier_version_is_migrated_at_start(home: Path, workers: str) -> None:
    async def make() -> dict[str, Any]:
        async with EmbeddedValkey(home / "data") as embedded:
            facts = await load(embedded.url)
            embedded.mark_initialised()
            return facts

    (home / "data").mkdir(mode=0o700)
    own = {"TECHNOPAY_SECRET": asyncio.run(make())["secret"]}
    arguments = ("serve", "--data-dir", "data", "--port", "0", "--workers", workers)
    with running_command(home, *arguments, settings=own) as service:
        assert service.ask("GET", "/readyz")[0] == 200
        assert "the store of schema 5 is migrated to 7" in service.output.read_text()
        assert service.stop() == 0
    audit = run_command(home, "audit", "--data-dir", "data", settings=own)
    assert audit.returncode == 0, audit.stdout


async def load(url: str) -> dict[str, Any]:
    async with AsyncRedis.from_url(url, decode_responses=True) as client:
        return await load_old_store(client, schema="5")


def test_serve_initialises_a_server_with_init(home: Path, server: str) -> None:
    arguments = ("serve", "--redis", server, "--init", "--demo", "--port", "0")
    with running_command(home, *arguments) as service:
        assert service.purchase()[0] == 200
    with running_command(home, *arguments) as service:
        assert service.purchase("Café Central")[0] == 200


def test_a_server_that_can_lose_payments_is_refused_unless_overruled(home: Path, server: str) -> None:
    assert run_command(home, "init", "--redis", server).returncode == 0
    configure(server, "appendfsync", "everysec")
    arguments = ("serve", "--redis", server, "--port", "0")

    assert_one_line(run_command(home, *arguments), 1, "everysec", "TECHNOPAY_DURABILITY=everysec")

    with running_command(home, *arguments, settings={"TECHNOPAY_DURABILITY": "everysec"}) as service:
        assert service.ask("GET", "/readyz")[0] == 200
    configure(server, "appendonly", "no")
    assert_one_line(run_command(home, *arguments), 1, "appendonly", "TECHNOPAY_DURABILITY=unchecked")
