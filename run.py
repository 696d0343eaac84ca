#!/usr/bin/env python3
"""Set technopay up in `.venv` and run it: `python3 run.py demo`, `… test`, `… serve --port 9000`."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

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
    """Make the virtual environment and install the project; again only when pyproject.toml changed."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f"installed{extra}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not PYTHON.exists():
        print("technopay: making a virtual environment in .venv", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)])
        if made.returncode:
            sys.exit("technopay: this Python has no venv; on Debian: apt-get install python3-venv")
    print(f"technopay: installing {extra or 'technopay'} (this takes about a minute, once)", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "--editable", f"{ROOT}{extra}"]).returncode:
        sys.exit("technopay: the installation failed; the lines above say why")
    stamp.write_text(wanted)


def run_checks(arguments: list[str]) -> int:
    """Run linters, types, layers and all tests; with arguments, only what they name.

    `--faults N` kills the engine N times, `--planted` breaks our own code; all else goes to pytest.
    """
    if arguments[:1] == ["--planted"]:
        return subprocess.run([str(PYTHON), "-m", "planted", *arguments[1:]], cwd=ROOT / "tests").returncode
    if arguments[:1] == ["--faults"]:
        arguments = ["tests/faults", "-s", *arguments]
    if arguments:
        return subprocess.run([str(PYTHON), "-m", "pytest", *arguments], cwd=ROOT).returncode
    for tool, *words in CHECKS:
        print(f"\n== {tool} {' '.join(words)}", flush=True)
        if status := subprocess.run([str(PYTHON.with_name(tool)), *words], cwd=ROOT).returncode:
            return status
    return report_coverage()


def report_coverage() -> int:
    """Print the coverage and fail below what engine and storage have to have."""
    return subprocess.run([str(PYTHON), str(ROOT / "tests" / "coverage_report.py")], cwd=ROOT).returncode


def main() -> int:
    """Set up, then run."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit("technopay needs Python 3.11 or later")
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] == "test":
        set_up("[dev]")
        return run_checks(arguments[1:])
    set_up("")
    return os.execv(PYTHON, [str(PYTHON), "-m", "technopay.cli", *arguments])


if __name__ == "__main__":
    sys.exit(main())
