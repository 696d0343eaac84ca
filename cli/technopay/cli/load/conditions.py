"""Conditions that fail a run, as `--fail-if` takes them: `p99_ms>500`, `rejected>1%`, `per_s<100`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from technopay.cli.load.recorder import PURCHASE
from technopay.cli.load.result import Result
from technopay.cli.settings import UsageError

CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\d{1,12}(?:\.\d{1,6})?)\s*(%?)\s*", re.ASCII)
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
TIMES = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
SHARES = ("rejected", "unexpected")
NAMES = (*TIMES, "per_s", *SHARES)


@dataclass(frozen=True, slots=True)
class Condition:
    """One figure of purchases, compared with a bound."""

    text: str
    name: str
    compare: Callable[[float, float], bool]
    bound: float


def read_conditions(texts: Sequence[str]) -> list[Condition]:
    """Read conditions.

    Raises:
        UsageError: names the first that is none.

    """
    return [_read(text) for text in texts]


def _read(text: str) -> Condition:
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
    purchase = next((each for each in result.operations if each.name == PURCHASE), None)
    latency = purchase.latency if purchase else None
    ended = sum(story.ended for story in result.stories)
    unexpected = sum(sum(story.surprises.values()) for story in result.stories)
    return {
        **{name: getattr(latency, name, None) for name in TIMES},
        "per_s": purchase.per_s if purchase else 0.0,
        "rejected": 100 * result.rejected,
        "unexpected": 100 * unexpected / ended if ended else 0.0,
    }
