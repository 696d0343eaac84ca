"""The command line: help, wrong arguments and settings, tokens, and errors without a traceback."""

import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from support.fixtures.engine_setup import SECRET, TOKEN_KEY

from technopay.cli import main
from technopay.engine import OutcomeUnknown, StoreUnfit, __version__

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command in this process, in an empty directory, with a secret; return status and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TECHNOPAY_SECRET", SECRET)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["technopay", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        output = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, output.out, output.err

    return run_it


def assert_one_line(ended: tuple[int, str, str], status: int, *words: str) -> None:
    code, out, err = ended
    assert (code, out) == (status, "")
    assert err.startswith("technopay: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("", "--version"),
        ("serve", "--host --port --redis --data-dir --init --demo --workers"),
        ("init", "--redis"),
        ("migrate", "--redis"),
        ("demo", "--once --port --data-dir"),
        ("token", "--user --admin --expires"),
        ("load", "--url --admin-token --users --concurrency --rate --duration --scenario --report --json"),
        ("audit", "--redis --data-dir"),
        ("reconcile", "FILE.csv --redis --data-dir --from --to --resolve --by --json"),
        ("bench", "--json"),
        ("webhooks listen", "--url --admin-token --forward --types --secret"),
    ],
)
def test_help_names_every_flag_of_the_contract(run: Run, command: str, flags: str) -> None:
    status, out, err = run(*command.split(), "--help")

    assert (status, err) == (0, "")
    assert [each for each in ("Usage:", "--help", *flags.split()) if each not in out] == []


def test_the_version_is_that_of_the_package(run: Run) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]

    assert __version__ == project["version"]
    assert run("--version") == (0, f"technopay {__version__}\n", "")


def test_a_plain_install_names_the_extra_of_a_load_test() -> None:
    program = (
        "import sys; sys.modules['hdrh.histogram'] = None; sys.argv = ['technopay', 'load', '--url', 'http://h']\n"
        "from technopay.cli.main import run; run()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert_one_line((ended.returncode, ended.stdout, ended.stderr), 2, "pip install 'technopay[load]'")


def test_without_arguments_it_shows_help(run: Run) -> None:
    assert "Usage:" in run()[1]


WRONG: list[tuple[str, str, tuple[str, ...]]] = [
    # The beginning of the command line, a word of the problem, and the wrong ends.
    ("", "no-such-thing", ("no-such-thing", "--no-such-thing", "serve no-such-thing")),
    ("serve --port", "--port", ("", " eighty", " 65536", " -1")),
    ("serve --workers", "--workers", (" 0", " 65", " many")),
    ("demo --workers", "--workers", (" 2",)),
    ("serve --redis redis://a --data-dir b", "--data-dir", ("",)),
    ("serve --redis", "--redis", (" http://localhost", " redis://", " redis://h:many", " redis://h:99999")),
    ("serve --redis redis+cluster://a:1,b:2/3", "a cluster has only number 0", ("",)),
    ("serve --data-dir d --host=", "--host is empty", ("",)),
    ("demo --data-dir=", "--data-dir is empty", ("",)),
    ("audit --data-dir=", "--data-dir is empty", ("",)),
    ("init", "--redis", ("", " --redis=")),
    ("migrate", "--redis", ("", " --redis=")),
    ("token", "--user", ("", " --user a/b", " --user ")),
    ("token --user a --expires", "--expires", (" 1", " 0h", " 1y", " 1.5h", " ١h")),
    ("token --user a --expires", "at most 366d", (" 367d", " 8785h", " 31622401s")),
    ("load", "--url", ("", " --url=")),
    ("load --url http://h --rate", "--rate", (" 0",)),
    ("load --url http://h --users", "--users", (" 0",)),
    ("load --url http://h --duration", "--duration", (" nan", " 0s", " 2d", " 1.5m")),
    ("load --url http://h --scenario", "--scenario", (" calm",)),
    ("load --url http://h --scenario hot-wallet --concurrency 64", "--concurrency", ("",)),
    ("load --url http://h --report", "written", (" .",)),
    ("load --url http://h --report=", "empty", ("",)),
    ("load --url http://h --json ~nobody-of-this-name/x", "home directory", ("",)),
    ("load --url http://h --admin-token=", "--admin-token is empty", ("",)),
    ("load --url http://h --json nowhere/figures.json", "nowhere", ("",)),
    ("bench --json nowhere/figures.json", "nowhere", ("",)),
    ("bench --json=", "empty", ("",)),
]


@pytest.mark.parametrize(
    ("arguments", "word"), [(f"{begin}{end}", word) for begin, word, ends in WRONG for end in ends]
)
def test_a_wrong_argument_is_named_in_one_line_with_status_2(run: Run, arguments: str, word: str) -> None:
    assert_one_line(run(*arguments.split(" ")), 2, word)


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [("30s", 30), ("5m", 300), ("1h", 3_600), ("12h", 43_200), ("7d", 604_800), ("366d", 31_622_400)],
)
def test_a_token_has_its_user_and_its_lifetime(run: Run, expires: str, seconds: int) -> None:
    status, out, err = run("token", "--user", "alice", "--expires", expires)

    claims = jwt.decode(out.strip(), TOKEN_KEY, algorithms=["HS256"])
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert (claims["sub"], claims["scope"]) == ("alice", "payments")
    assert claims["exp"] - claims["iat"] == seconds


def test_a_token_of_an_operator_opens_both_tables_for_an_hour(run: Run) -> None:
    claims = jwt.decode(run("token", "--user", "op", "--admin")[1].strip(), TOKEN_KEY, algorithms=["HS256"])

    assert claims["scope"].split() == ["payments", "admin"]
    assert claims["exp"] - claims["iat"] == 3_600


@pytest.mark.parametrize(
    ("arguments", "why"),
    [("", "the server cannot be reached"), ("--concurrency 10000 --rate 1", "--concurrency")],
)
def test_a_load_test_that_could_not_run_has_another_status_than_one_with_violations(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: str, why: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 1_024))

    status, _, err = run("load", "--url", "http://127.0.0.1:1", *arguments.split())

    assert_one_line((status, "", err), 2, why)


def test_a_missing_secret_is_one_line_with_status_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TECHNOPAY_SECRET")

    assert_one_line(run("token", "--user", "a"), 1, "TECHNOPAY_SECRET", "32", "secrets.token_urlsafe")


def test_all_missing_settings_of_serve_are_named_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "SETTLEMENT", "EMAIL"):
        monkeypatch.delenv(f"TECHNOPAY_{name}", raising=False)

    status, out, err = run("serve", "--data-dir", "d")

    assert (status, out) == (1, "")
    assert [line.split(":")[1] for line in err.splitlines()] == [
        " TECHNOPAY_SECRET is not set",
        " set TECHNOPAY_SETTLEMENT and TECHNOPAY_EMAIL or TECHNOPAY_SMS",
    ]
    assert not Path("d").exists()


def test_a_wrong_setting_is_named_in_one_line_with_status_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TECHNOPAY_SECRET", "short")

    ended = run("token", "--user", "a")

    assert_one_line(ended, 1, "TECHNOPAY_SECRET")
    assert "short" not in ended[2]


@pytest.mark.parametrize("error", [StoreUnfit, OutcomeUnknown, OSError, ValueError, KeyError])
def test_every_error_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error("it is so")

    monkeypatch.setattr(main, "_serve", fail)

    assert_one_line(run("serve"), 1, "it is so")


def test_an_interrupt_is_status_130_without_a_word(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "load_settings", interrupt)

    assert run("serve") == (130, "", "")
