"""The console of a load test: during the run, and at the end."""

import re
from io import StringIO
from typing import Any, cast

import pytest
from rich.console import Console
from support.fixtures.load_results import (
    broken_audit,
    changed,
    clean_result,
    difference,
    flow,
    outcome,
    verdict,
)

from technopay.cli.load.console import ConsoleView, print_result
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import Generator, Operation, Result, Server, Verdict
from technopay.cli.load.traffic import Traffic

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MARKUP = "[/red] [bold] [not a style]"
"""A text from a server that must not be taken for markup."""
BROKEN_AUDIT = broken_audit(difference(invariant="no_money_made_or_lost", subject=MARKUP))


class Running:
    """A running traffic."""

    under_way = 7
    left_s = 12.0


def result(found: Verdict | None = None, **changes: Any) -> Result:
    start = Operation(name="start", count=2_000, per_s=60.5, latency=clean_result().operations[1].latency)
    usual = {
        "operations": [Operation(name="purchase", count=1_000, per_s=50.0, latency=None), start],
        "outcomes": [outcome("purchase", 200, "succeeded", 900), outcome("purchase", 0, MARKUP, 4_321)],
        "stories": [flow("start_twice", 9, {MARKUP: 1})],
        "rejected": 0.2222,
        "verdict": found or verdict(),
    }
    return changed(clean_result(3), **{**usual, **changes})


def printed(found: Verdict | None = None, *, is_terminal: bool = False, **changes: Any) -> str:
    shown = StringIO()
    print_result(result(found, **changes), Console(file=shown, force_terminal=is_terminal, width=160))
    return COLOURS.sub("", shown.getvalue())


def cells(text: str, first: str) -> list[str]:
    """Return the cells of the row that begins with a word."""
    line = next(line for line in text.splitlines() if line.strip("│ ").startswith(f"{first} ") and "│" in line)
    return [cell.strip() for cell in line.strip("│").split("│")]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_rows_have_all_figures_in_order_and_the_text_of_a_server_unchanged(*, is_terminal: bool) -> None:
    text = printed(is_terminal=is_terminal)

    assert "technopay load · mixed · 3.0 s" in text
    assert cells(text, "start   ") == ["start", "2,000", "60.5", "3.9 ms", "7.8 ms", "16 ms", "74 ms"]
    assert cells(text, "purchase")[:3] == ["purchase", "1,000", "50.0"]
    assert cells(text, "start twice") == ["start twice", "12", "9", "3", "5", "1", f"1 × {MARKUP}"]
    assert cells(text, f"purchase  │ {MARKUP}") == [
        "purchase", MARKUP, "no reply", "4,321", "82.8 %", "4.0 ms", "8.0 ms", "16 ms", "76 ms"
    ]  # fmt: skip
    assert "rejected: 22.2 % of the purchases that ended\n" in text
    assert "212 µs of CPU per request; memory 78 → 92 MiB, at most 97" in text
    assert "did not keep up" not in text


def test_unknown_figures_are_not_shown_and_a_generator_that_did_not_keep_up_is_a_warning() -> None:
    unknown = Server(**dict.fromkeys(Server.model_fields))
    partly = unknown.model_copy(update={"cpu_us_per_request": 1.0})
    slow = Generator(cpu=0.97, lag_p99_ms=80.0, is_to_be_trusted=False)

    assert "µs" not in printed(server=unknown)
    assert "memory not known" in printed(server=partly)
    assert "did not keep up (0.97 cores, 80 ms late)" in printed(generator=slow)


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize(
    ("changes", "last", "lines"),
    [
        ({}, "clean: all 1,234 acknowledgements kept; the audit agrees", []),
        (
            {"clean": False, "audit": BROKEN_AUDIT, "differences": [f"acknowledged_is_kept: pay_1 {MARKUP}"]},
            "BROKEN: acknowledged_is_kept, no_money_made_or_lost",
            [
                f"acknowledgements: acknowledged_is_kept: pay_1 {MARKUP}",
                f"audit: no_money_made_or_lost: {MARKUP} balance: expected 48750, found 50000",
            ],
        ),
        ({"clean": False, "audit": None, "problem": f"nobody {MARKUP}"}, f"no verdict: nobody {MARKUP}", []),
        (
            {"clean": False, "audit": None, "problem": "none", "differences": ["acknowledged_is_kept: pay"]},
            "BROKEN: acknowledged_is_kept",
            ["acknowledgements: acknowledged_is_kept: pay"],
        ),
    ],
    ids=["clean", "broken", "unknown", "broken without an audit"],
)  # fmt: skip
def test_the_last_line_is_the_verdict_below_all_differences(
    changes: dict[str, Any], last: str, lines: list[str], *, is_terminal: bool
) -> None:
    shown = printed(verdict(**changes), is_terminal=is_terminal).splitlines()

    assert shown[-1] == last
    assert shown[-1 - len(lines) : -1] == lines


def running(*, is_terminal: bool) -> str:
    shown, recorder = StringIO(), Recorder()
    view = ConsoleView(Console(file=shown, force_terminal=is_terminal, width=200))
    with view.live:
        view.step("making users and wallets", 3)
        view.advance(2)
        view.step("mixed", 20)
        view.show(cast("Traffic", Running()), recorder, 1)
        for latency_s in (0.1, 0.2):
            recorder.request("start", 201, "requires_confirmation", latency_s)
        recorder.purchase(200, "succeeded", 0.5)
        recorder.purchase(0, MARKUP, 0.5)
        recorder.end_second(7)
        view.show(cast("Traffic", Running()), recorder, 10)
    return shown.getvalue()


def test_progress_is_drawn_again_on_a_terminal_and_else_a_line_per_step_and_ten_seconds() -> None:
    first, second, third = running(is_terminal=False).splitlines()

    assert (first, second) == ("making users and wallets …", "mixed …")
    assert third == (
        f"   10 s  1 purchases/s · 2 requests/s · p50 100 ms · p99 200 ms · 7 under way · "
        f"succeeded 1 · {MARKUP} 1"
    )
    text = running(is_terminal=True)
    assert [each for each in ("7 under way", "12 s left", "\x1b[") if each not in text] == []
