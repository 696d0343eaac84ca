"""A plugin for pytest that runs in a broken copy: only the copy's code counts, and every outcome is noted.

A test that fails while the product logs a defect, because Python cannot make sense of the code, or because it
hangs, has not caught a broken rule: the change itself does not work. The note says so.
"""

import gc
import importlib.util
import json
import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

COPY = "PLANTED_COPY"
NOTES = "PLANTED_NOTES"
PACKAGES = (
    "technopay.engine",
    "technopay.storage",
    "technopay.http",
    "technopay.cli",
    "support.fixtures.store_setup",
)
MISTAKES = (NameError, SyntaxError, ImportError, AttributeError, TypeError)
HANGS = "Failed: Timeout"


OUTAGES = ("the store cannot be reached", "the store refuses calls")
"""What an engine logs of a store that a test takes away."""


class Defects(logging.Handler):
    """Collects what the product logs as a defect of its own, and mistakes in tasks nobody waits for."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None and record.getMessage().startswith(OUTAGES):
            return
        if record.name != "asyncio" or isinstance(error, MISTAKES):
            self.seen.append(f"{record.getMessage().splitlines()[0]} {error!r}")


_defects = Defects()
_notes: list[dict[str, Any]] = []


def origins() -> dict[str, str]:
    """Answer where our packages come from."""
    found = {package: importlib.util.find_spec(package) for package in PACKAGES}
    return {package: str(spec.origin) if spec else "nowhere" for package, spec in found.items()}


def strangers(found: dict[str, str], copy: Path) -> dict[str, str]:
    """Answer the packages that do not come from the copy."""
    return {package: origin for package, origin in found.items() if not Path(origin).is_relative_to(copy)}


def pytest_configure(config: pytest.Config) -> None:
    if outside := strangers(origins(), Path(os.environ[COPY])):
        raise pytest.UsageError(f"not from the copy: {outside}")
    for logger in ("technopay", "asyncio"):
        logging.getLogger(logger).addHandler(_defects)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "setup":
        _notes.append({"test": item.nodeid, "outcome": "passed", "why": "", "defect": ""})
        _defects.seen.clear()
    note = _notes[-1]
    if report.when == "teardown" and call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
        return report  # the audit behind every test: that the books do not balance is what a breakage does
    if not report.passed and note["outcome"] == "passed":
        # What goes wrong around a test is not what the test is about.
        note["outcome"] = "error" if report.failed and report.when != "call" else report.outcome
    if call.excinfo is not None and not note["why"]:
        note["why"] = call.excinfo.exconly().splitlines()[0][:200]
        if call.excinfo.errisinstance(MISTAKES) or note["why"].startswith(HANGS):
            note["defect"] = note["why"]
    if report.when == "teardown" and note["outcome"] != "passed":
        gc.collect()  # a task that crashed is only found when it is thrown away
    if _defects.seen and not note["defect"]:
        note["defect"] = _defects.seen[0][:200]
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ[NOTES]).write_text(json.dumps(_notes), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(f"not from the copy: {outside}" if (outside := strangers(origins(), Path.cwd())) else 0)
