"""A plugin for pytest that runs in a broken copy: it checks the origin of the code and notes every outcome.

A test that fails because the product logs a defect, because Python cannot run the code, or because it
hangs, has not caught a broken rule: the change itself does not work. The note records that as a defect.
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


OUTAGES = (
    "the store cannot be reached",
    "the store refuses calls",
    "the store must not be used any more",
    "a script failed: ERR Attempted to access a non local key",
    "a script failed: ERR Script attempted to access a non local key",
)
"""Log lines of an engine about a store that a test stops, or whose keys it moves."""


class Defects(logging.Handler):
    """Collects defects that the product logs, and programming errors in tasks without an awaiter."""

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
    """Return the origins of the product's packages."""
    found = {package: importlib.util.find_spec(package) for package in PACKAGES}
    return {package: str(spec.origin) if spec else "nowhere" for package, spec in found.items()}


def strangers(found: dict[str, str], copy: Path) -> dict[str, str]:
    """Return the packages that do not come from the copy."""
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
        return report  # the audit after every test: a breakage may unbalance the books
    if not report.passed and note["outcome"] == "passed":
        # A failure in set-up or teardown is outside the subject of the test.
        note["outcome"] = "error" if report.failed and report.when != "call" else report.outcome
    if call.excinfo is not None and not note["why"]:
        note["why"] = call.excinfo.exconly().splitlines()[0][:200]
        if call.excinfo.errisinstance(MISTAKES) or note["why"].startswith(HANGS):
            note["defect"] = note["why"]
    if report.when == "teardown" and note["outcome"] != "passed":
        gc.collect()  # a crashed task is only found when it is collected
    if _defects.seen and not note["defect"]:
        note["defect"] = _defects.seen[0][:200]
    return report


def pytest_sessionfinish() -> None:
    Path(os.environ[NOTES]).write_text(json.dumps(_notes), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(f"not from the copy: {outside}" if (outside := strangers(origins(), Path.cwd())) else 0)
