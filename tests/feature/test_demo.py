"""A demo is isolated: its stores, its tokens, its address."""

import signal
import sys
from pathlib import Path

import pytest
from redis import Redis
from support.processes.service import Service, assert_one_line, eventually, run_command, running_command

SERVE = ("serve", "--port", "0")
EMBEDDED = ("--data-dir", "data")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


def dump(url: str) -> dict[bytes, bytes]:
    with Redis.from_url(url) as client:
        return {key: client.dump(key) for key in client.scan_iter()}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_was_not_made_by_a_demo_is_refused_as_it_is(home: Path, server: str, workers: str) -> None:
    redis = (*SERVE, "--redis", server)
    with running_command(home, *redis, "--init") as service:
        operator = run_command(home, "token", "--user", "op", "--admin").stdout.strip()
        assert service.ask("POST", "/v1/admin/users", {"id": "demo-alice"}, operator)[0] == 201
    before = dump(server)

    ended = run_command(home, *redis, "--demo", "--workers", workers)

    assert_one_line(ended, 1, "in use and was not made by --demo")
    assert dump(server) == before


def test_the_data_of_a_service_is_refused_as_it_is_by_a_demo_without_its_secret(home: Path) -> None:
    with running_command(home, *SERVE, *EMBEDDED):
        pass

    ended = run_command(home, *SERVE, *EMBEDDED, "--demo", settings={"TECHNOPAY_SECRET": None})

    assert_one_line(ended, 1, "was made with a TECHNOPAY_SECRET")
    assert not (home / "data" / "demo-secret").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_token_of_a_demo_is_worth_nothing_without_it(home: Path, workers: str) -> None:
    with running_command(home, *SERVE, *EMBEDDED, "--demo", "--workers", workers) as service:
        token = service.token(admin=True)
        usual = run_command(home, "token", "--user", "op", "--admin").stdout.strip()
        assert service.ask("GET", "/v1/admin/limits", token=token)[0] == 200
        assert service.ask("GET", "/v1/admin/limits", token=usual)[0] == 200
    with running_command(home, *SERVE, *EMBEDDED, "--workers", workers) as service:
        assert service.ask("GET", "/v1/admin/limits", token=token)[0] == 401
        assert service.ask("GET", "/v1/admin/limits", token=usual)[0] == 200
    with running_command(home, *SERVE, *EMBEDDED, "--demo") as service:
        assert service.ask("GET", "/v1/admin/limits", token=token)[0] == 200
    with running_command(home, *SERVE, "--data-dir", "other", "--demo") as service:
        assert service.ask("GET", "/v1/admin/limits", token=token)[0] == 401


def test_a_change_by_an_operator_survives_the_next_start_of_a_demo(home: Path) -> None:
    with running_command(home, *SERVE, *EMBEDDED, "--demo") as service:
        operator = service.token(admin=True)
        assert service.ask("PUT", "/v1/admin/limits/EUR", {"amount": 7}, operator)[0] == 200
        assert service.ask("POST", "/v1/admin/users/demo-blocked/unblock", {}, operator)[0] == 200
        invoices = service.ask("GET", "/v1/invoices?limit=100", token=service.token())[1]["data"]
    for _ in range(2):
        with running_command(home, *SERVE, *EMBEDDED, "--demo") as service:
            operator = service.token(admin=True)
            assert service.ask("GET", "/v1/admin/limits", token=operator)[1]["data"][0]["limit"] == 7
            assert service.ask("GET", "/v1/admin/users/demo-blocked", token=operator)[1]["status"] == "active"
            again = service.ask("GET", "/v1/invoices?limit=100", token=service.token())[1]["data"]
            assert {each["id"] for each in again} == {each["id"] for each in invoices}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_foreign_names_and_pages_are_refused_and_a_wide_address_is_warned_of(home: Path, workers: str) -> None:
    def status(service: Service, **headers: str) -> int:
        return service.ask("GET", "/livez", headers=headers)[0]

    arguments = (*SERVE, *EMBEDDED, "--demo", "--workers", workers, "--host", "0.0.0.0")
    with running_command(home, *arguments) as service:
        service.url = service.url.replace("0.0.0.0", "127.0.0.1")
        eventually(lambda: "the demo listens on 0.0.0.0" in service.output.read_text())
        assert status(service) == 200
        assert status(service, Host="evil.example") == 403
        assert status(service, Origin="https://evil.example") == 403
    with running_command(home, *SERVE, *EMBEDDED, "--demo") as service:
        assert "the demo listens on" not in service.output.read_text()
        assert status(service, Host="evil.example") == 403
    with running_command(home, *SERVE, *EMBEDDED) as service:
        assert status(service, Host="evil.example") == 200


WORDS = ("/docs", "/openapi.json", "/mock/inbox/demo-alice", "/metrics", "export TOKEN=", "/confirm")


@pytest.mark.parametrize(("host", "is_wide"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_demo_prints_a_guide_and_warns_of_a_wide_address(home: Path, host: str, *, is_wide: bool) -> None:
    with running_command(home, "demo", "--port", "0", settings={"TECHNOPAY_HOST": host}) as service:

        def read_guide() -> str:
            text = service.output.read_text()
            return text if "Ctrl-C" in text else ""

        guide = eventually(read_guide)
        assert [word for word in WORDS if word not in guide] == []
        if is_wide:
            eventually(lambda: "the demo listens on 0.0.0.0" in service.output.read_text())
        service.url = service.url.replace("0.0.0.0", "127.0.0.1")
        assert service.purchase()[0] == 200
        assert ("keep other machines out" in service.output.read_text()) is is_wide
        assert service.stop(signal.SIGINT) == 0
