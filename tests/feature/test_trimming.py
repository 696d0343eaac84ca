"""A store whose history is only in its archive: the service and the commands, with the archive and without."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from support.processes.service import Service, assert_one_line, eventually, run_command, running_command
from support.servers.faked_server import faked_clock

DEMO = ("serve", "--demo", "--port", "0", "--data-dir", "data")
STORE = ("--data-dir", "data")
WHOLE, DIFFERS, COULD_NOT_RUN = 0, 1, 2
AGO = timedelta(days=20)
KEEP = {"TECHNOPAY_KEEP_DAYS": "9"}
NO_ARCHIVE = {"TECHNOPAY_ARCHIVE": "none"}


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a store with a purchase of long ago, which is only in its archive."""
    home = tmp_path_factory.mktemp("trimmed")
    with (
        faked_clock(datetime.now(UTC) - AGO) as clock,
        running_command(home, *DEMO, settings=clock.environment) as service,
    ):
        assert service.purchase()[0] == 200
    with running_command(home, *DEMO) as service:
        for settings in ({}, NO_ARCHIVE):
            ended = run_command(home, "archive", "run", *STORE, settings=settings)
            assert (ended.returncode == 0) == (settings != NO_ARCHIVE)
            assert checkpoint_of(service) is None, "35 days did not pass"

        def has_left() -> bool:
            ended = run_command(home, "archive", "run", *STORE, settings=KEEP)
            assert ended.returncode == 0, ended.stderr
            return "checkpoint: none" not in ended.stdout

        eventually(has_left)
        assert checkpoint_of(service) is not None
    return home


@pytest.fixture
def home(trimmed: Path, tmp_path: Path) -> Path:
    """A copy of the store and its archive."""
    home = tmp_path / "home"
    shutil.copytree(trimmed, home, ignore=shutil.ignore_patterns("*.sock", "output-*"))
    return home


def archive_of(home: Path) -> Path:
    return home / "data" / "archive.sqlite3"


@contextmanager
def without_archive(home: Path) -> Iterator[None]:
    """Take the archive away; what waits in its log is moved to its file first."""
    away = home / "away.sqlite3"
    archive_of(home).rename(away)
    try:
        yield
    finally:
        for each in archive_of(home).parent.glob("archive.sqlite3*"):
            each.unlink()
        away.rename(archive_of(home))


def ask(service: Service, path: str) -> tuple[int, Any]:
    return service.ask("GET", f"/v1/admin/{path}", token=service.token("operator", admin=True))


def checkpoint_of(service: Service) -> str | None:
    status, found = ask(service, "archive")
    assert status == 200
    assert found["checkpoint"] is None or found["checkpoint"] <= found["archived_to"]
    return found["checkpoint"]  # type: ignore[no-any-return]


def event_types(service: Service) -> list[str]:
    """Return the types of all events, oldest first."""
    types, after = [], ""
    while True:
        status, page = ask(service, f"events?limit=7{after}")
        assert status == 200, page
        types += [each["type"] for each in page["data"]]
        if not page["has_more"]:
            return types
        after = f"&after={page['next_cursor']}"


def test_the_service_reads_through_and_without_the_archive_only_history_is_missing(home: Path) -> None:
    with running_command(home, *DEMO, settings=KEEP) as service:
        types = event_types(service)
        assert types.index("payment.succeeded") > types.index("payment.started")
        assert ask(service, "audit")[1]["clean"] is True
        invoice = {"user_id": "demo-alice", "amount": 5, "currency": "EUR", "merchant": "Grocer"}
        invoice["expires_at"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        operator = service.token("operator", admin=True)
        status, created = service.ask("POST", "/v1/admin/invoices", invoice, operator)
        assert status == 201
        beginning = ask(service, "events?limit=1")[1]["next_cursor"]
        with without_archive(home):
            for path in ("events", "audit", f"events?after={beginning}"):
                status, problem = ask(service, path)
                assert (status, problem["code"], problem["retryable"]) == (503, "archive_unavailable", True)
            stream = service.ask(
                "GET", f"/v1/admin/events?after={beginning}", headers={"Accept": "text/event-stream"},
                token=service.token("operator", admin=True),
            )  # fmt: skip
            assert (stream[0], stream[1]["code"]) == (503, "archive_unavailable")
            assert service.purchase(invoice_id=created["id"])[0] == 200, "payments go on"


def test_the_commands_read_what_left_the_store_from_the_archive(home: Path) -> None:
    for command in (("audit",), ("audit", "--full"), ("archive", "verify")):
        ended = run_command(home, *command, *STORE)
        assert (ended.returncode, ended.stderr) == (WHOLE, ""), ended.stdout
        assert ended.stdout.splitlines()[-1] == "clean"
    status = json.loads(run_command(home, "archive", "status", *STORE, "--json").stdout)
    assert status["checkpoint"] < (datetime.now(UTC) - AGO + timedelta(days=1)).isoformat()
    shown = run_command(home, "archive", "status", *STORE).stdout.splitlines()
    assert shown[-1] == f"checkpoint: {status['checkpoint']}"
    whole, part = (
        json.loads(run_command(home, "audit", *STORE, "--json", *full).stdout) for full in (["--full"], [])
    )
    assert whole["checked"]["entries"] > part["checked"]["entries"]
    rows = home / "rows.csv"
    rows.write_text("key,amount,currency,outcome\n")
    found = run_command(
        home, "reconcile", str(rows), *STORE, "--json", "--from", "2020-01-01T00:00:00Z",
        "--to", "2100-01-01T00:00:00Z",
    )  # fmt: skip
    assert found.returncode == 1, found.stderr
    assert len(json.loads(found.stdout)["missing"]) == 1, "the payment of long ago"


def test_without_the_archive_these_commands_cannot_run_and_say_why(home: Path) -> None:
    for command in (("audit",), ("audit", "--full"), ("archive", "verify")):
        ended = run_command(home, *command, *STORE, settings=NO_ARCHIVE)
        assert_one_line(ended, COULD_NOT_RUN, "TECHNOPAY_ARCHIVE")
        with without_archive(home):
            ended = run_command(home, *command, *STORE)
            assert_one_line(ended, COULD_NOT_RUN, "No such file or directory")
            assert not archive_of(home).exists()
    shown = run_command(home, "archive", "status", *STORE, settings=NO_ARCHIVE)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_what_was_changed_by_hand_in_the_archive_is_named(home: Path) -> None:
    with sqlite3.connect(archive_of(home)) as archive:
        archive.execute("UPDATE payments SET amount = amount + 1")
        archive.execute("UPDATE checkpoint_rows SET content = '[]' WHERE number = 1")
    archive.close()
    for command in (("audit", "--full"), ("archive", "verify")):
        found = run_command(home, *command, *STORE, "--json")
        assert found.returncode == DIFFERS, found.stderr
        verdict = json.loads(found.stdout)
        invariants = {each["invariant"] for each in verdict["differences"]}
        assert invariants >= {"records_are_as_they_were_read", "checkpoints_follow_from_history"}
        assert not verdict["clean"]
    ended = run_command(home, "audit", *STORE)
    assert_one_line(ended, COULD_NOT_RUN, "was changed in the archive")


def test_a_checkpoint_of_the_store_that_the_archive_lacks_is_named(home: Path) -> None:
    with sqlite3.connect(archive_of(home)) as archive:
        archive.execute("DELETE FROM checkpoints")
    archive.close()
    for command in (("audit", "--full"), ("archive", "verify")):
        found = run_command(home, *command, *STORE, "--json")
        assert found.returncode == DIFFERS, found.stderr
        [difference] = json.loads(found.stdout)["differences"]
        assert difference["subject"].startswith("checkpoint ")
        assert difference["expected"].endswith("as the store has it")


def test_a_full_audit_finds_what_differs_in_the_store_too(home: Path) -> None:
    with running_command(home, *DEMO, is_audited=False):
        with Redis.from_url(f"unix://{home}/data/valkey.sock", decode_responses=True) as client:
            key = next(iter(client.scan_iter("{tp:00}:wallet:*")))
            assert client.hincrby(str(key), "balance", 1)
        found = run_command(home, "audit", "--full", *STORE, "--json")
    assert found.returncode == DIFFERS, found.stderr
    invariants = {each["invariant"] for each in json.loads(found.stdout)["differences"]}
    assert invariants == {"balance_is_sum_of_entries", "no_money_made_or_lost"}


def test_an_archive_that_ends_in_an_unreadable_row_is_named_by_a_full_audit(home: Path) -> None:
    with sqlite3.connect(archive_of(home)) as archive:
        archive.execute("UPDATE events SET fields = '[1]' WHERE type = 'user.created'")
    archive.close()
    found = run_command(home, "audit", "--full", *STORE, "--json")
    assert found.returncode == DIFFERS, found.stderr
    assert {"history_is_one_chain", "every_record_can_be_read"} <= {
        each["invariant"] for each in json.loads(found.stdout)["differences"]
    }


def test_a_full_audit_needs_an_archive_also_of_a_store_that_has_everything(tmp_path: Path) -> None:
    with running_command(tmp_path, *DEMO) as service:
        assert service.purchase()[0] == 200
        assert run_command(tmp_path, "archive", "run", *STORE).returncode == 0
        assert run_command(tmp_path, "audit", "--full", *STORE).returncode == WHOLE
        assert run_command(tmp_path, "audit", *STORE, settings=NO_ARCHIVE).returncode == WHOLE
        ended = run_command(tmp_path, "audit", "--full", *STORE, settings=NO_ARCHIVE)
        assert_one_line(ended, COULD_NOT_RUN, "TECHNOPAY_ARCHIVE has to name one")


def test_history_is_kept_for_a_week_at_least(tmp_path: Path) -> None:
    for command, status in ((DEMO, 1), (("archive", "run", *STORE), COULD_NOT_RUN)):
        ended = run_command(tmp_path, *command, settings={"TECHNOPAY_KEEP_DAYS": "6"})
        assert_one_line(ended, status, "TECHNOPAY_KEEP_DAYS: has to be greater than or equal to 7")
