"""What `technopay load` is asked for, and what it makes of what it is not."""

from __future__ import annotations

from typing import Any

import pytest

from technopay.cli.load.plan import ScenarioName, make_plan
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
        "http://h:99999", "http://h:x", "http://me:secret@h",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--url has to be an address like http://"):
        plan(url)


def test_an_address_with_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="--url has to be the address of a server, without a path"):
        plan("http://127.0.0.1:8080/v1")


@pytest.mark.parametrize(("argument", "name"), [("duration_s", "--duration"), ("rate_per_s", "--rate")])
def test_what_is_no_number_is_refused(argument: str, name: str) -> None:
    changes: dict[str, Any] = {argument: float("nan")}
    with pytest.raises(UsageError, match=f"^{name} has to be a number$"):
        plan(**changes)


def test_more_at_a_time_than_a_server_takes_of_one_user_is_refused() -> None:
    with pytest.raises(UsageError, match="--concurrency has to be at most 48 with hot-wallet"):
        plan(scenario=ScenarioName.HOT_WALLET, concurrency=49)


@pytest.mark.parametrize("scenario", [each for each in ScenarioName if each is not ScenarioName.HOT_WALLET])
def test_what_is_not_given_is_chosen(scenario: ScenarioName) -> None:
    fixed, at_a_rate = plan(scenario=scenario), plan(scenario=scenario, rate_per_s=5.0)

    assert (fixed.concurrency, fixed.rate_per_s, fixed.users) == (32, None, 100)
    assert (at_a_rate.concurrency, at_a_rate.rate_per_s) == (1_000, 5.0)
    assert plan(scenario=scenario, concurrency=7).concurrency == 7
    assert plan(scenario=scenario, concurrency=2_000, rate_per_s=5.0).concurrency == 2_000


def test_a_hot_wallet_is_of_one_user_and_takes_what_a_server_takes_of_one() -> None:
    asked = plan(scenario=ScenarioName.HOT_WALLET)

    assert (asked.users, asked.concurrency) == (1, 48)
    assert plan(scenario=ScenarioName.HOT_WALLET, rate_per_s=5.0).concurrency == 48
    assert plan(scenario=ScenarioName.HOT_WALLET, concurrency=48).concurrency == 48


def test_a_slash_behind_the_address_is_left_out() -> None:
    assert plan("https://shop.example/").url == "https://shop.example"
    assert plan("http://[::1]:8080").url == "http://[::1]:8080"
