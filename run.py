#!/usr/bin/env python3
"""Set technopay up in `.venv` and run it: `python3 run.py demo`, `… test`, `… docs`, `… serve --port 9000`.

Old Pythons read this file too, to say that they are too old: it keeps to the syntax of Python 3.6.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "technopay-installed"
LOCK_WAIT_S = 900

# Many tests wait for processes or deadlines: on two cores a third one finds time meanwhile.
THREE_AT_A_TIME = ("-q", "--numprocesses=3", "--dist=worksteal")
CHECKS = (
    ("ruff", "check", "."),
    ("mypy",),
    ("ruff", "format", "--check", "."),
    ("lint-imports",),
    ("coverage", "erase"),
    ("coverage", "run", "-m", "pytest", *THREE_AT_A_TIME, "tests/test_tidy.py", "tests/unit", "tests/feature"),
    ("coverage", "combine", "--quiet"),
    # Those that race, kill and search at random take half as long again when every line is counted.
    (
        "pytest",
        *THREE_AT_A_TIME,
        "tests/property",
        "tests/races",
        "tests/faults",
        "tests/contract",
        "tests/clients",
    ),
)


def set_up(extra: str) -> None:
    """Make the virtual environment and install the project, unless both are there already."""
    if installed_extra() in (extra, "[dev]"):
        return
    with set_up_lock():
        if installed_extra() in (extra, "[dev]"):
            return
        environment = describe_environment()
        if read_stamp()[:2] != environment:
            # Made elsewhere, for another Python, by another program, or only in part.
            say("making a virtual environment in .venv")
            if call(sys.executable, "-m", "venv", "--clear", str(VENV)):
                sys.exit("technopay: this Python has no venv; on Debian: apt-get install python3-venv")
        with contextlib.suppress(FileNotFoundError):
            STAMP.unlink()  # no stamp: an interrupted installation starts again from nothing
        say(f"installing technopay{extra} (this takes about a minute, once)")
        pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
        if call(*pip, "--editable", f"{ROOT}{extra}"):
            sys.exit("technopay: the installation failed; the lines above say why")
        STAMP.write_text("\n".join([*describe_environment(), project_digest(), extra]), encoding="utf-8")


def installed_extra() -> "str | None":
    """Return the extra that this checkout is installed with, None if it has to be set up."""
    *installed, extra = read_stamp()
    return extra if installed == [*describe_environment(), project_digest()] else None


def read_stamp() -> list:
    """Return the lines that the last complete set-up left: checkout, Python, digest, extra."""
    lines = STAMP.read_text(encoding="utf-8").split("\n") if STAMP.exists() else []
    return lines if len(lines) == 4 else [""] * 4


def describe_environment() -> list:
    """Return what an environment is bound to: the path of its checkout and the version of its Python."""
    try:
        tag = subprocess.check_output([str(PYTHON), "-ISc", "import sys; print(sys.implementation.cache_tag)"])
    except (OSError, subprocess.CalledProcessError):
        tag = b"none"
    return [str(ROOT), tag.decode().strip()]


def project_digest() -> str:
    """Return the digest of the file that says what to install."""
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()


@contextlib.contextmanager
def set_up_lock():
    """Let one process at a time set this checkout up; its pip holds the lock too, and outlives a kill."""
    lock = os.open(str(ROOT / ".venv.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    os.set_inheritable(lock, True)  # noqa: FBT003
    try:
        give_up_at, waits = time.monotonic() + LOCK_WAIT_S, False
        while not try_lock(lock):
            if time.monotonic() > give_up_at:
                sys.exit("technopay: another process has been setting this checkout up for too long; end it")
            if not waits:
                waits = True
                say("waiting for another process that sets this checkout up")
            time.sleep(0.2)
        yield
    finally:
        os.close(lock)


def try_lock(lock: int) -> bool:
    """Take the lock if it is free; Windows has no such locks."""
    if os.name == "nt":
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def call(*words: str) -> int:
    """Run a step of the set-up; what it prints goes to standard error, standard output is the command's."""
    return subprocess.call(words, stdout=sys.stderr, close_fds=False)


def say(text: str) -> None:
    """Print one line about the set-up."""
    print(f"technopay: {text}", file=sys.stderr, flush=True)


def run_checks(arguments: list) -> int:
    """Run linters, types, layers and all tests; with arguments, only what they name.

    `--faults N` kills the engine N times, `--cluster` runs the tests of clusters on Redis, with `--faults N`
    behind it N faults of clusters on both servers, `--planted` breaks our own code; all else goes to pytest.
    """
    if arguments[:1] == ["--planted"]:
        return subprocess.run([str(PYTHON), "-m", "planted", *arguments[1:]], cwd=ROOT / "tests").returncode
    if arguments[:2] == ["--cluster", "--faults"]:
        arguments = ["tests/faults/test_cluster_failovers.py", "-k", "many", "-s", "-q", *arguments]
    elif arguments == ["--cluster"]:
        arguments = [*THREE_AT_A_TIME, "-k", "cluster", "tests", *arguments]
    if arguments[:1] == ["--faults"]:
        arguments = ["tests/faults", "tests/property", "-s", *arguments]
    if arguments:
        return subprocess.run([str(PYTHON), "-m", "pytest", *arguments], cwd=ROOT).returncode
    for tool, *words in CHECKS:
        print(f"\n== {tool} {' '.join(words)}", flush=True)
        status = subprocess.call([str(PYTHON.with_name(tool)), *words], cwd=ROOT)
        if status:
            return status
    return report_coverage()


def report_coverage() -> int:
    """Print the coverage and fail below what engine and storage have to have."""
    return subprocess.run([str(PYTHON), str(ROOT / "tests" / "coverage_report.py")], cwd=ROOT).returncode


def make_site() -> int:
    """Make the site of the documentation, in site/."""
    environment = dict(os.environ, NO_MKDOCS_2_WARNING="1")
    return subprocess.run([str(PYTHON), "-m", "mkdocs", "build"], cwd=ROOT, env=environment).returncode


def main() -> int:
    """Set up, then run."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit("technopay needs Python 3.11 or later")
    arguments = sys.argv[1:] or ["--help"]
    is_ours = arguments[0] in ("test", "docs")
    try:
        set_up("[dev]" if is_ours else "[load]")
    except KeyboardInterrupt:
        return 130
    if is_ours:
        return make_site() if arguments[0] == "docs" else run_checks(arguments[1:])
    return os.execv(PYTHON, [str(PYTHON), "-m", "technopay.cli", *arguments])


if __name__ == "__main__":
    sys.exit(main())
