"""A repeated failure is logged at its beginning, once a minute, and at its end."""

import logging

import pytest

from technopay.engine import outage_log as module
from technopay.engine.outage_log import OutageLog


def test_an_outage_is_logged_at_its_beginning_every_minute_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    outage = OutageLog(logging.getLogger("technopay.test"), "it fails", "it works")

    outage.end()
    for second in range(150):
        now = 1000.0 + second
        outage.fail(f"reason {second}")
    outage.end(quiet_s=1)
    now += 1
    outage.end(quiet_s=1)
    outage.end()
    outage.fail("anew")

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "it fails: reason 0"),
        ("ERROR", "it fails for 60 s: reason 60"),
        ("ERROR", "it fails for 120 s: reason 120"),
        ("WARNING", "it works after 150 s"),
        ("ERROR", "it fails: anew"),
    ]
