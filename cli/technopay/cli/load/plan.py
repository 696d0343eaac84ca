"""The plan of a run, from the arguments of the command, and the conditions that fail it."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from technopay.cli.load.result import Plan, Result
from technopay.cli.settings import UsageError, http_origin

FIXED_CONCURRENCY = 32
RATE_CONCURRENCY = 1_000
HOT_CONCURRENCY = 48
"""A server takes 64 requests of one user at a time, and the user's inbox is read, too."""

CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\d{1,12}(?:\.\d{1,6})?)\s*(%?)\s*", re.ASCII)
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
TIMES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
SHARES = ("rejected", "unexpected")
NAMES = (*TIMES, "per_s", *SHARES)


class LoadError(Exception):
    """Raised when no load test is possible; one line says why."""


class ScenarioName(StrEnum):
    MIXED = "mixed"
    PLAIN = "plain"
    HOT_WALLET = "hot-wallet"
    LIMIT_RACE = "limit-race"
    DUPLICATES = "duplicates"


def make_plan(
    url: str,
    scenario: ScenarioName,
    duration_s: float,
    users: int,
    concurrency: int | None,
    rate_per_s: float | None,
) -> Plan:
    """Make a plan, with defaults for missing arguments, or raise UsageError with the argument and its rule."""
    for name, number in (("--duration", duration_s), ("--rate", rate_per_s)):
        if number is not None and not math.isfinite(number):
            raise UsageError(f"{name} has to be a number")
    try:
        address = http_origin(url.rstrip("/"))
    except ValueError:
        raise UsageError("--url has to be an address like http://127.0.0.1:8080, without a path") from None
    most = RATE_CONCURRENCY if rate_per_s else FIXED_CONCURRENCY
    if scenario is ScenarioName.HOT_WALLET:
        users, most = 1, HOT_CONCURRENCY
        if concurrency and concurrency > most:
            raise UsageError(f"--concurrency has to be at most {most} with hot-wallet: all are of one user")
    return Plan(
        url=address,
        scenario=scenario,
        duration_s=duration_s,
        users=users,
        concurrency=concurrency or most,
        rate_per_s=rate_per_s,
    )


@dataclass(frozen=True, slots=True)
class Condition:
    """One figure of purchases, compared with a bound: `p99_ms>500`, `rejected>1%`, `per_s<100`."""

    text: str
    name: str
    compare: Callable[[float, float], bool]
    bound: float


def read_condition(text: str) -> Condition:
    """Parse a condition of `--fail-if`, or raise UsageError."""
    found = CONDITION.fullmatch(text)
    if found is None or found[1] not in NAMES or (found[1] in SHARES) != bool(found[4]):
        raise UsageError(
            f"--fail-if {text!r:.80} is no condition: it has to be like p99_ms>500 or rejected>1%, "
            f"with <, <=, > or >=, and one of {', '.join(NAMES)}"
        )
    return Condition(text.strip(), found[1], COMPARE[found[2]], float(found[3]))


def failures(conditions: Sequence[Condition], result: Result) -> list[str]:
    """Return the conditions that hold, each with its figure; one on an unknown figure holds, too."""
    known, lines = _figures(result), []
    for each in conditions:
        value = known[each.name]
        if value is None:
            lines.append(f"{each.text}: {each.name} is not known, as no purchase succeeded")
        elif each.compare(value, each.bound):
            lines.append(f"{each.text}: {each.name} is {value:,.4g}{'%' * (each.name in SHARES)}")
    return lines


def _figures(result: Result) -> Mapping[str, float | None]:
    purchase = result.purchase
    latency = purchase.latency if purchase else None
    ended = sum(flow.ended for flow in result.stories)
    return {
        **{name: getattr(latency, name, None) for name in TIMES},
        "per_s": purchase.per_s if purchase else 0.0,
        "rejected": 100 * result.rejected,
        "unexpected": 100 * result.unexpected / ended if ended else 0.0,
    }
