"""Conditions that fail a run: which figures there are, how they are compared, and what is none."""

from __future__ import annotations

import pytest
from support.load_results import clean_result, empty_result

from technopay.cli.load.conditions import NAMES, failures, read_conditions
from technopay.cli.settings import UsageError


def held(*texts: str, rejected: float = 0.02) -> list[str]:
    return failures(read_conditions(texts), clean_result().model_copy(update={"rejected": rejected}))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("p50_ms>17.3", "p50_ms>17.3: p50_ms is 17.4"),
        ("p50_ms >= 17.4", "p50_ms >= 17.4: p50_ms is 17.4"),
        (" max_ms<1000", "max_ms<1000: max_ms is 330.6"),
        ("rejected>1%", "rejected>1%: rejected is 2%"),
        ("rejected <= 2 %", "rejected <= 2 %: rejected is 2%"),
        ("unexpected<0.1%", "unexpected<0.1%: unexpected is 0%"),
    ],
)
def test_a_condition_that_holds_is_named_with_its_figure(text: str, line: str) -> None:
    assert held(text) == [line]


@pytest.mark.parametrize(
    "text", ["p50_ms>17.4", "p95_ms<1", "per_s<100", "rejected>2%", "rejected<2%", "unexpected>0%"]
)
def test_one_that_does_not_hold_is_not(text: str) -> None:
    assert held(text) == []


def test_all_that_hold_are_named() -> None:
    assert [line.partition(":")[0] for line in held("p50_ms>1", "p95_ms<1", "per_s>1")] == [
        "p50_ms>1",
        "per_s>1",
    ]


def test_a_figure_that_is_not_known_fails_the_run() -> None:
    conditions = read_conditions(["p99_ms>500", "per_s<1", "rejected>1%", "unexpected>1%"])

    assert failures(conditions, empty_result()) == [
        "p99_ms>500: p99_ms is not known, as no purchase succeeded",
        "per_s<1: per_s is 0",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", "p98_ms>5", "p99_ms", "p99_ms>", ">5", "p99_ms=5", "p99_ms>-5", "p99_ms>5ms", "p99_ms>5%",
        "rejected>1", "rejected>1%%", "p99_ms>nan", "p99_ms>٥", "p99_ms>5 p50_ms>5", "P99_MS>5",
        "p99_ms>" + 13 * "9",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_the_names_that_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-if .* is no condition") as refused:
        read_conditions(["p99_ms>5", text])

    assert ", ".join(NAMES) in str(refused.value)
    assert "\n" not in str(refused.value)
