"""The plan of a load test from its arguments, and the conditions that fail it."""

from __future__ import annotations

from typing import Any

import pytest
from support.fixtures.load_results import clean_result, empty_result

from technopay.cli.load.plan import NAMES, ScenarioName, failures, make_plan, read_condition
from technopay.cli.load.result import Plan
from technopay.cli.settings import UsageError


def plan(url: str = "http://127.0.0.1:8080", **changes: Any) -> Plan:
    asked: dict[str, Any] = {
        "scenario": ScenarioName.MIXED, "duration_s": 30.0, "users": 100, "concurrency": None,
        "rate_per_s": None,
    }  # fmt: skip
    return make_plan(url, **{**asked, **changes})


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://h?a=1", "http://h#a", "http://[::1", "http://h:0",
        "http://h:99999", "http://h:x", "http://me:secret@h", "http://h/v1",
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--url has to be an address like http://"):
        plan(url)


@pytest.mark.parametrize(("argument", "name"), [("duration_s", "--duration"), ("rate_per_s", "--rate")])
def test_a_number_that_is_not_finite_is_refused(argument: str, name: str) -> None:
    changes: dict[str, Any] = {argument: float("nan")}
    with pytest.raises(UsageError, match=f"^{name} has to be a number$"):
        plan(**changes)


def test_more_at_a_time_than_a_server_takes_of_one_user_is_refused() -> None:
    with pytest.raises(UsageError, match="--concurrency has to be at most 48 with hot-wallet"):
        plan(scenario=ScenarioName.HOT_WALLET, concurrency=49)


@pytest.mark.parametrize("scenario", [each for each in ScenarioName if each is not ScenarioName.HOT_WALLET])
def test_missing_arguments_have_defaults(scenario: ScenarioName) -> None:
    fixed, at_a_rate = plan(scenario=scenario), plan(scenario=scenario, rate_per_s=5.0)

    assert (fixed.concurrency, fixed.rate_per_s, fixed.users) == (32, None, 100)
    assert (at_a_rate.concurrency, at_a_rate.rate_per_s) == (1_000, 5.0)
    assert plan(scenario=scenario, concurrency=7).concurrency == 7
    assert plan(scenario=scenario, concurrency=2_000, rate_per_s=5.0).concurrency == 2_000


def test_a_hot_wallet_has_one_user_and_the_concurrency_of_one() -> None:
    asked = plan(scenario=ScenarioName.HOT_WALLET)

    assert (asked.users, asked.concurrency) == (1, 48)
    assert plan(scenario=ScenarioName.HOT_WALLET, rate_per_s=5.0).concurrency == 48
    assert plan(scenario=ScenarioName.HOT_WALLET, concurrency=48).concurrency == 48


def test_a_slash_behind_the_address_is_left_out() -> None:
    assert plan("https://shop.example/").url == "https://shop.example"
    assert plan("http://[::1]:8080").url == "http://[::1]:8080"


def held(*texts: str, rejected: float = 0.02) -> list[str]:
    return failures(
        [read_condition(text) for text in texts], clean_result().model_copy(update={"rejected": rejected})
    )


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


def test_all_conditions_that_hold_are_named() -> None:
    assert [line.partition(":")[0] for line in held("p50_ms>1", "p95_ms<1", "per_s>1")] == [
        "p50_ms>1",
        "per_s>1",
    ]


def test_a_figure_that_is_not_known_fails_the_run() -> None:
    conditions = [read_condition(text) for text in ("p99_ms>500", "per_s<1", "rejected>1%", "unexpected>1%")]

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
def test_a_wrong_condition_is_refused_with_the_names_of_figures(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-if .* is no condition") as refused:
        read_condition(text)

    assert ", ".join(NAMES) in str(refused.value)
    assert "\n" not in str(refused.value)
