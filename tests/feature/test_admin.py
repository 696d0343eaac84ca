"""`technopay admin` against a running server: done, refused, or not begun, with a status for each."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.processes.service import Service, assert_one_line, environment, running_command

from technopay.cli import main

Admin = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("admin")


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Service]:
    with running_command(place, "serve", "--demo", "--port", "0", "--data-dir", "data") as running:
        yield running


@pytest.fixture(scope="module")
def settings(service: Service) -> Mapping[str, str]:
    return {
        "TECHNOPAY_URL": service.url,
        "TECHNOPAY_ADMIN_TOKEN": service.token("demo-operator", admin=True),
    }


@pytest.fixture
def admin(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: Path,
    settings: Mapping[str, str],
) -> Iterator[Admin]:
    """Run the command in this process, without a terminal: to start one takes seconds."""
    monkeypatch.chdir(place)
    for name in [name for name in os.environ if name.startswith("TECHNOPAY_")]:
        monkeypatch.delenv(name)

    def run(*words: str, given: Mapping[str, str] = settings) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["technopay", "admin", *words])
            with pytest.raises(SystemExit) as ended:
                main.run()
        output = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(words, ended.value.code, output.out, output.err)

    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield run


def done(ended: subprocess.CompletedProcess[str]) -> Any:
    """Return the record that a command printed as JSON."""
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def lines(ended: subprocess.CompletedProcess[str]) -> list[Any]:
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_user_is_made_funded_changed_and_blocked(admin: Admin) -> None:
    user = done(admin("users", "create", "demo-cli", "--email", "cli@example.com", "--json"))
    assert (user["id"], user["email"], user["phone"]) == ("demo-cli", "cli@example.com", None)
    wallet = done(admin("wallets", "create", "--user", "demo-cli", "--currency", "EUR", "--json"))
    funded = done(admin("wallets", "deposit", wallet["id"], "--amount", "1250", "--yes", "--json"))
    assert funded["balance"] == 1250
    [entry] = lines(admin("wallets", "entries", wallet["id"], "--json"))
    assert (entry["kind"], entry["amount"]) == ("deposit", 1250)

    changed = done(
        admin("users", "update", "demo-cli", "--phone", "+15550100", "--no-email", "--yes", "--json")
    )
    assert (changed["email"], changed["phone"]) == (None, "+15550100")
    assert done(admin("users", "block", "demo-cli", "--yes", "--json"))["status"] == "blocked"
    assert [
        each["id"]
        for each in lines(admin("users", "list", "--user", "demo-cli", "--status", "blocked", "--json"))
    ] == ["demo-cli"]
    assert done(admin("users", "unblock", "demo-cli", "--json"))["status"] == "active"

    shown = admin("wallets", "list", "--user", "demo-cli")
    assert shown.returncode == 0
    for part in (wallet["id"], "12.50 EUR", "active"):
        assert part in shown.stdout
    whole = admin("wallets", "show", wallet["id"])
    assert "12.50 EUR" in whole.stdout
    entries = admin("wallets", "entries", wallet["id"]).stdout
    assert entries.count("12.50 EUR") == 2, "amount and balance after"
    [other] = lines(admin("wallets", "entries", wallet["id"], "--json"))
    statement = done(admin("wallets", "statement", wallet["id"], "--from", other["at"], "--json"))
    assert (statement["opening_balance"], statement["closing_balance"], statement["data"]) == (0, 1250, [other])
    for words, rows, balances in (
        ((), 1, ("0.00 EUR", "12.50 EUR")), (("--to", other["at"]), 0, ("0.00 EUR", "0.00 EUR"))
    ):  # fmt: skip
        shown = admin("wallets", "statement", wallet["id"], *words)
        first, *_, last = shown.stdout.splitlines()
        assert (first, last) == (f"Opening balance: {balances[0]}", f"Closing balance: {balances[1]}")
        assert (shown.returncode, shown.stdout.count("deposit")) == (0, rows)
    for words, text in (
        (("webhooks", "update"), "`paused` keeps events"),
        (("wallets", "adjust"), "below zero to take out"),
        (("payments", "list"), "The earliest time of creation"),
    ):
        assert text in " ".join(admin(*words, "--help").stdout.split())


def test_a_payment_is_found_by_the_reference_of_its_invoice_in_one_command(
    admin: Admin, service: Service
) -> None:
    created = admin(
        "invoices", "create", "--user", "demo-alice", "--amount", "700", "--currency", "EUR", "--merchant",
        "Cli shop", "--reference", "R-1", "--expires-at", "2036-01-01T00:00:00Z", "--metadata", "order=7",
        "--metadata", "note=a=b", "--json",
    )  # fmt: skip
    invoice = done(created)
    assert invoice["metadata"] == {"order": "7", "note": "a=b"}
    assert lines(admin("payments", "find", "--reference", "R-1", "--json")) == []
    status, payment = service.purchase("Cli shop")
    assert status == 200

    for words in (("--reference", "R-1"), ("--reference", "R-1", "--merchant", "Cli shop")):
        [found] = lines(admin("payments", "find", *words, "--json"))
        assert found["id"] == payment["id"]
    [found] = lines(
        admin("payments", "list", "--invoice", invoice["id"], "--from", invoice["created_at"], "--json")
    )
    assert found["id"] == payment["id"]
    refunded = done(admin("payments", "refund", payment["id"], "--yes", "--json"))
    assert (refunded["status"], refunded["refunded_amount"]) == ("refunded", 700)
    assert lines(admin("notifications", "list", "--status", "dead", "--json")) == []


def test_a_limit_is_set_listed_and_lifted(admin: Admin) -> None:
    assert done(admin("limits", "set", "CHF", "--amount", "5000", "--yes", "--json"))["limit"] == 5000
    assert "CHF" in admin("limits", "list").stdout
    assert done(admin("limits", "set", "CHF", "--no-amount", "--yes", "--json"))["limit"] is None
    assert_one_line(admin("limits", "set", "CHF", "--yes"), 2, "--amount or --no-amount is missing")
    both = admin("limits", "set", "CHF", "--amount", "1", "--no-amount", "--yes")
    assert_one_line(both, 2, "exclude each other")


def test_a_list_goes_on_until_enough_records_were_found(admin: Admin) -> None:
    for number in range(3):
        done(admin("users", "create", f"demo-{number}", "--json"))
    ended = admin("users", "list", "--limit", "2", "--json")
    assert [each["id"] for each in lines(ended)] == ["demo-2", "demo-1"]
    cursor = ended.stderr.strip().rpartition("--cursor ")[2]
    [following] = lines(admin("users", "list", "--limit", "1", "--cursor", cursor, "--json"))
    assert following["id"] == "demo-0"
    assert admin("users", "list", "--user", "demo-none").stdout == "technopay: there is nothing to list\n"


def test_a_statement_goes_on_until_enough_entries_were_found(admin: Admin) -> None:
    wallet = done(admin("wallets", "create", "--user", "demo-alice", "--currency", "JPY", "--json"))
    for amount in ("1", "2", "4"):
        done(admin("wallets", "deposit", wallet["id"], "--amount", amount, "--yes", "--json"))
    ended = admin("wallets", "statement", wallet["id"], "--limit", "2", "--json")
    part = json.loads(ended.stdout)
    assert ([each["amount"] for each in part["data"]], part["closing_balance"]) == ([1, 2], 7)
    cursor = ended.stderr.strip().rpartition("--cursor ")[2]
    rest = done(admin("wallets", "statement", wallet["id"], "--cursor", cursor, "--json"))
    assert ([each["amount"] for each in rest["data"]], rest["has_more"]) == ([4], False)


def test_what_the_server_refuses_has_status_1_with_code_and_request(admin: Admin) -> None:
    for words, code in (
        (("users", "show", "demo-none"), "user_not_found"),
        (("users", "create", "demo-alice"), "user_exists"),
        (
            ("payments", "resolve", "pay_00none", "--outcome", "settled", "--note", "x", "--yes"),
            "payment_not_found",
        ),
        (("wallets", "list", "--cursor", "x"), "validation_failed"),
    ):
        assert_one_line(admin(*words), 1, code, "request ")


def test_what_cannot_be_sent_has_status_2(admin: Admin, settings: Mapping[str, str]) -> None:
    for words, part in (
        (("wallets", "deposit", "wal_1", "--amount", "many", "--yes"), "--amount"),
        (("wallets", "deposit", "wal_1"), "--amount"),
        (("users", "list", "--status", "gone"), "gone"),
        (("users", "nothing"), "nothing"),
        (("payments", "list", "--from", "yesterday"), "offset"),
        (("invoices", "list", "--limit", "0"), "--limit"),
        (("users", "list", "--url", "localhost"), "--url"),
        (("users", "list", "--url", "http://127.0.0.1:1"), "cannot be reached"),
    ):
        assert_one_line(admin(*words), 2, part)
    for missing, flag in (("TECHNOPAY_URL", "--url"), ("TECHNOPAY_ADMIN_TOKEN", "--admin-token")):
        without = {name: value for name, value in settings.items() if name != missing}
        assert_one_line(admin("users", "list", given=without), 2, flag)
    stranger = {**settings, "TECHNOPAY_ADMIN_TOKEN": "nonsense"}
    assert_one_line(admin("users", "list", given=stranger), 1, "unauthenticated")


def test_without_a_terminal_nothing_is_done_before_it_is_agreed(admin: Admin) -> None:
    wallet = done(admin("wallets", "create", "--user", "demo-blocked", "--currency", "EUR", "--json"))
    refused = admin("wallets", "deposit", wallet["id"], "--amount", "1250")
    assert (refused.returncode, refused.stdout) == (2, "")
    question, reason = refused.stderr.splitlines()
    owner = f"{wallet['id']} of demo-blocked (balance 0.00 EUR)"
    assert question == f"technopay: Deposit 12.50 EUR into wallet {owner}."
    assert "--yes" in reason
    assert done(admin("wallets", "show", wallet["id"], "--json"))["balance"] == 0


@pytest.mark.parametrize(("answer", "status", "is_blocked"), [("y", 0, True), ("n", 2, False)])
def test_on_a_terminal_it_asks(
    place: Path, admin: Admin, settings: Mapping[str, str], answer: str, status: int, is_blocked: bool
) -> None:
    done(admin("users", "unblock", "demo-blocked", "--json"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "technopay.cli", "admin", "users", "block", "demo-blocked", "--json"],
        cwd=place, env=environment(place, settings), stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        os.write(ours, f"{answer}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == status, err
    assert "Block user demo-blocked" in err
    assert bool(out) == is_blocked
    assert (done(admin("users", "show", "demo-blocked", "--json"))["status"] == "blocked") is is_blocked
