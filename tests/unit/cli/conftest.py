"""A command's changes to its process end with the test."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.unraisablehook, threading.excepthook)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.unraisablehook, threading.excepthook = hooks


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Set variables, in an empty directory and an environment without settings of technopay."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith("TECHNOPAY_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")

    def set_them(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"TECHNOPAY_{name.upper()}", value)

    return set_them
