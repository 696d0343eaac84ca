"""The archive of a service and its commands: beside payments, verified, refused, and away."""

import json
import shutil
import sqlite3
import stat
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes.service import Service, assert_one_line, eventually, run_command, running_command

DEMO = ("serve", "--demo", "--port", "0", "--data-dir", "data")
STORE = ("--data-dir", "data")
WHOLE, DIFFERS, COULD_NOT_RUN = 0, 1, 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_command(tmp_path, *DEMO) as service:
        yield service


def archive_of(home: Path) -> Path:
    return home / "data" / "archive.sqlite3"


def state(service: Service) -> tuple[float | None, str | None]:
    """Return the lag and the end of the archive."""
    status, found = service.ask("GET", "/v1/admin/archive", token=service.token("operator", admin=True))
    assert status == 200
    assert set(found) == {"lag_s", "archived_to", "checkpoint"}
    assert found["checkpoint"] is None
    return found["lag_s"], found["archived_to"]


def deposit(service: Service) -> None:
    _, wallets = service.ask("GET", "/v1/wallets", token=service.token())
    path = f"/v1/admin/wallets/{wallets['data'][0]['id']}/deposit"
    assert service.ask("POST", path, {"amount": 5}, service.token("operator", admin=True))[0] == 200


def metrics_of(service: Service) -> str:
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=20) as response:
        return str(response.read().decode())


def test_serve_archives_beside_payments(service: Service, tmp_path: Path) -> None:
    assert service.purchase()[0] == 200
    eventually(lambda: state(service)[0] == 0)
    assert stat.S_IMODE(archive_of(tmp_path).stat().st_mode) == 0o600
    with sqlite3.connect(f"file:{archive_of(tmp_path)}?mode=ro", uri=True) as archive:
        assert archive.execute("SELECT count(*) FROM payments WHERE status = 'succeeded'").fetchone() == (1,)
    assert "technopay_archive_lag_seconds 0.0" in metrics_of(service)


def test_the_commands_run_beside_a_server_and_after_it(tmp_path: Path) -> None:
    with running_command(tmp_path, *DEMO) as service:
        assert service.purchase()[0] == 200
        beside = run_command(tmp_path, "archive", "run", *STORE)
        assert beside.returncode == 0, beside.stderr
        archived, _, lag, checkpoint = beside.stdout.splitlines()
        assert archived.startswith("technopay: archived ")
        assert lag.startswith("lag: ")
        assert checkpoint == "checkpoint: none"
        eventually(lambda: state(service)[0] == 0)
        shown = json.loads(run_command(tmp_path, "archive", "status", *STORE, "--json").stdout)
        assert shown == dict(zip(("lag_s", "archived_to"), state(service), strict=True)) | {"checkpoint": None}
    after = run_command(tmp_path, "archive", "verify", *STORE)
    assert (after.returncode, after.stderr) == (WHOLE, "")
    assert after.stdout.splitlines()[-1] == "clean"


def test_a_row_that_was_changed_by_hand_is_named(service: Service, tmp_path: Path) -> None:
    _, payment = service.purchase()
    assert run_command(tmp_path, "archive", "run", *STORE).returncode == 0
    with sqlite3.connect(archive_of(tmp_path)) as archive:
        archive.execute("UPDATE payments SET amount = amount + 1 WHERE id = ?", (payment["id"],))
    archive.close()
    found = run_command(tmp_path, "archive", "verify", *STORE, "--json")
    assert found.returncode == DIFFERS
    verdict = json.loads(found.stdout)
    assert {each["subject"] for each in verdict["differences"]} == {payment["id"]}
    assert payment["id"] in run_command(tmp_path, "archive", "verify", *STORE).stdout


def test_the_last_event_that_was_changed_by_hand_is_named(service: Service, tmp_path: Path) -> None:
    deposit(service)
    assert run_command(tmp_path, "archive", "run", *STORE).returncode == 0
    with sqlite3.connect(archive_of(tmp_path)) as archive:
        archive.execute(
            'UPDATE events SET fields = replace(fields, \'"amount":"5"\', \'"amount":"6"\')'
            " WHERE type = 'wallet.deposited'"
        )
    archive.close()
    found = run_command(tmp_path, "archive", "verify", *STORE, "--json")
    assert found.returncode == DIFFERS, found.stderr
    subjects = [each["subject"] for each in json.loads(found.stdout)["differences"]]
    assert subjects[0] == "archive"
    assert any(each.startswith("event ") for each in subjects)


def test_what_reads_an_archive_creates_none(service: Service, tmp_path: Path) -> None:
    deposit(service)
    settings = {"TECHNOPAY_ARCHIVE": str(tmp_path / "typo" / "archive.sqlite3")}
    for command in (("verify",), ("export", "--parquet", "exported")):
        ended = run_command(tmp_path, "archive", *command, *STORE, settings=settings)
        assert_one_line(ended, COULD_NOT_RUN, "No such file or directory")
    assert not (tmp_path / "typo").exists()


def test_an_export_has_a_file_of_each_table(service: Service, tmp_path: Path) -> None:
    assert service.purchase()[0] == 200
    assert run_command(tmp_path, "archive", "run", *STORE).returncode == 0
    ended = run_command(tmp_path, "archive", "export", "--parquet", "exported", *STORE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "exported/payments.parquet: 1 rows" in ended.stdout.splitlines()
    assert len(list((tmp_path / "exported").iterdir())) == len(ended.stdout.splitlines()) == 6


@pytest.mark.parametrize("where", [(), ("--data-dir", "data")])
def test_a_demo_leaves_the_archive_of_another_store_alone(tmp_path: Path, where: tuple[str, ...]) -> None:
    archive = tmp_path / "books.sqlite3"
    settings = {"TECHNOPAY_ARCHIVE": str(archive)}
    assert run_command(tmp_path, "demo", "--once", *where, settings=settings).returncode == 0
    assert not archive.exists()
    assert archive_of(tmp_path).exists() == bool(where)


def test_payments_go_on_while_the_archive_is_away(tmp_path: Path) -> None:
    archive = tmp_path / "archives" / "archive.sqlite3"
    archive.parent.mkdir()
    archive.mkdir()  # no file can be there
    with running_command(tmp_path, *DEMO, settings={"TECHNOPAY_ARCHIVE": str(archive)}) as service:
        assert service.purchase()[0] == 200
        assert str(archive) in service.output.read_text()
        eventually(lambda: (state(service)[0] or 0) > 0)
        archive.rmdir()
        eventually(lambda: state(service)[0] == 0)


def test_without_an_archive_nothing_is_archived(tmp_path: Path) -> None:
    settings = {"TECHNOPAY_ARCHIVE": "none"}
    with running_command(tmp_path, *DEMO, settings=settings) as service:
        assert service.purchase()[0] == 200
        assert state(service) == (None, None)
        assert "technopay_archive_lag_seconds" not in metrics_of(service)
        shown = run_command(tmp_path, "archive", "status", *STORE, settings=settings)
        assert (shown.returncode, shown.stdout) == (0, "nothing was archived yet\n")
    assert not archive_of(tmp_path).exists()
    ended = run_command(tmp_path, "archive", "verify", *STORE, settings=settings)
    assert_one_line(ended, COULD_NOT_RUN, "TECHNOPAY_ARCHIVE")


def test_the_archive_of_another_store_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        with running_command(tmp_path, *DEMO[:-1], name) as service:
            service.purchase()
            assert run_command(tmp_path, "archive", "run", "--data-dir", name).returncode == 0
    shutil.copy(tmp_path / "one" / "archive.sqlite3", tmp_path / "other" / "archive.sqlite3")
    ended = run_command(tmp_path, *DEMO[:-1], "other")
    assert_one_line(ended, 1, "the archive is of another store")
    for command in ("run", "verify"):
        ended = run_command(tmp_path, "archive", command, "--data-dir", "other")
        assert_one_line(ended, COULD_NOT_RUN, "the archive is of another store")


def test_a_store_restored_from_a_backup_is_refused_beside_a_newer_archive(tmp_path: Path) -> None:
    with running_command(tmp_path, *DEMO) as service:
        deposit(service)
        assert run_command(tmp_path, "archive", "run", *STORE).returncode == 0
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    with running_command(tmp_path, *DEMO) as service:
        deposit(service)
        assert run_command(tmp_path, "archive", "run", *STORE).returncode == 0
    newer = tmp_path / "newer.sqlite3"
    shutil.copy(archive_of(tmp_path), newer)
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")

    refused = run_command(tmp_path, *DEMO, settings={"TECHNOPAY_ARCHIVE": str(newer)})
    assert_one_line(refused, 1, "is older than its archive; was it restored from a backup?")
    # With its own archive of that day, or a new one, it goes on.
    for archive in (archive_of(tmp_path), tmp_path / "new.sqlite3"):
        settings = {"TECHNOPAY_ARCHIVE": str(archive)}
        with running_command(tmp_path, *DEMO, settings=settings) as service:
            deposit(service)
            assert run_command(tmp_path, "archive", "run", *STORE, settings=settings).returncode == 0
        assert run_command(tmp_path, "archive", "verify", *STORE, settings=settings).returncode == WHOLE
    # Behind the end of the newer archive, the store has another history.
    time.sleep(0.01)
    refused = run_command(tmp_path, "archive", "run", *STORE, settings={"TECHNOPAY_ARCHIVE": str(newer)})
    assert_one_line(refused, COULD_NOT_RUN, "is another one than its archive")


def test_workers_archive_an_embedded_store_beside_it(tmp_path: Path) -> None:
    with running_command(tmp_path, *DEMO, "--workers", "2") as service:
        assert service.purchase()[0] == 200
        eventually(lambda: state(service)[0] == 0)
    assert archive_of(tmp_path).exists()
    assert run_command(tmp_path, "archive", "verify", *STORE).returncode == WHOLE


@pytest.mark.parametrize("location", ["http://archive.example", "redis://localhost"])
def test_a_place_that_no_archive_can_be_in_is_refused(tmp_path: Path, location: str) -> None:
    ended = run_command(tmp_path, "archive", "status", settings={"TECHNOPAY_ARCHIVE": location})
    assert_one_line(ended, COULD_NOT_RUN, "TECHNOPAY_ARCHIVE: has to be the path of a file")
