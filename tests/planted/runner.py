"""Breaks private copies of the tree, one breakage in each, and runs the tests that have to catch it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planted.breakage import ROOT, Breakage, StaleError, is_of
from planted.guard import COPY, NOTES

ROOTS = ("engine", "http", "storage", "cli", "tests")
RUN_S_MAX = 300
TEST_S_MAX = 60
PLUGINS_LEFT_OUT = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest")
"""The start of the last one takes longer than most of these tests."""

TESTS_RAN = (0, 1)
"""The statuses of pytest for a complete run, with or without failures."""

SOUND = "tests/feature/test_library_purchase.py::test_a_purchase_succeeds[fake]"
"""The test that has to pass in every broken copy: any test catches code that does not work at all."""


@dataclass(frozen=True, slots=True)
class Note:
    """The outcome of one test."""

    test: str
    outcome: str
    why: str
    defect: str


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a run of pytest."""

    status: int
    notes: tuple[Note, ...]
    output: str = ""

    def of(self, test: str) -> list[Note]:
        """Return the notes of a test, with any parameters."""
        return [note for note in self.notes if is_of(note.test, test)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tests that caught a breakage, and the reasons why it does not count as caught."""

    caught_by: tuple[Note, ...]
    troubles: tuple[str, ...]

    @property
    def is_caught(self) -> bool:
        """Whether every required test caught it, in a copy that works otherwise."""
        return not self.troubles


def try_breakage(breakage: Breakage) -> Verdict:
    """Break a copy and judge the results of its tests."""
    with copied_tree() as copy:
        try:
            breakage.apply(copy)
        except StaleError as error:
            return Verdict((), (str(error),))
        return judge(run_tests(copy, [SOUND, *breakage.tests]), breakage.tests)


def try_unbroken(tests: Iterable[str]) -> list[str]:
    """Run the same tests on an unbroken copy; return its troubles."""
    with copied_tree() as copy:
        # A test starts processes like this one: they have to find the copy, too.
        child = [sys.executable, "-m", "planted.guard"]
        subprocess.run(child, cwd=copy, env=surroundings(copy), check=True)
        run = run_tests(copy, dict.fromkeys([SOUND, *tests]))
    troubles = [f"{note.test}: {note.outcome} {note.why}" for note in run.notes if note.outcome != "passed"]
    if run.status not in TESTS_RAN or not run.notes:
        troubles.append(f"the tests did not run (status {run.status}): {run.output}")
    return troubles


def judge(run: Run, tests: Sequence[str]) -> Verdict:
    """Judge a run in a broken copy: the sound test has to pass, and each of the others to fail by itself."""
    if run.status not in TESTS_RAN:
        return Verdict((), (f"the tests did not run (status {run.status}): {run.output}",))
    caught_by, troubles = [], []
    if [note.outcome for note in run.of(SOUND)] != ["passed"]:
        troubles.append("the copy cannot even make a purchase")
    for test in tests:
        failed = [note for note in run.of(test) if note.outcome == "failed"]
        caught = [note for note in failed if not note.defect]
        caught_by += caught[:1]
        if not caught:
            defects = {note.defect for note in failed}
            name = test.partition("::")[2]
            troubles.append(f"{name} only met a defect: {defects}" if failed else f"{name} does not catch it")
    return Verdict(tuple(caught_by), tuple(troubles))


@contextmanager
def copied_tree() -> Iterator[Path]:
    """Copy the current files of the project to a temporary place."""
    with tempfile.TemporaryDirectory(prefix="technopay-planted-") as folder:
        copy = Path(folder).resolve()
        for name in project_files():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
        yield copy


def project_files() -> list[str]:
    """Return the files that git tracks or would add; without git, the files that the tests need."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    files = [path for root in ROOTS for path in (ROOT / root).rglob("*") if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    return [str(path.relative_to(ROOT)) for path in [ROOT / "pyproject.toml", *files]]


def surroundings(copy: Path) -> Mapping[str, str]:
    """Return an environment in which this Python, and every process that it starts, finds the copy's code.

    It has no variables of an outer coverage measurement or test run.
    """
    path = os.pathsep.join(str(copy / root) for root in ROOTS)
    others = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTEST"))}
    return others | {
        "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", COPY: str(copy), NOTES: str(copy / "notes.json"),
    }  # fmt: skip


def run_tests(copy: Path, tests: Iterable[str]) -> Run:
    """Run tests in a copy, with its code instead of the installed one."""
    environment = surroundings(copy)
    command = [
        sys.executable, "-m", "pytest", "-q", "--tb=no", "-o", f"timeout={TEST_S_MAX}", "-p", "planted.guard",
        *PLUGINS_LEFT_OUT, *tests,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        return Run(-1, (), str(error))
    notes = copy / "notes.json"
    noted = json.loads(notes.read_text(encoding="utf-8")) if notes.exists() else []
    output = " ".join([*done.stdout.splitlines()[-3:], *done.stderr.splitlines()[-3:]])
    return Run(done.returncode, tuple(Note(**note) for note in noted), output)
