"""Writes down how long everything took and how it ended, second by second."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

PURCHASE = "purchase"
"""The operation that is all requests of one purchase together."""

SLOW = frozenset({"wait", "confirm_slow"})
"""Operations that take as long as a settlement does that is slow on purpose."""


def _latencies() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Second:
    """What ended in one second of the run."""

    latencies_s: array[float] = field(default_factory=_latencies)
    """Of requests that succeeded, but those that are slow on purpose."""
    requests: int = 0
    purchases: int = 0
    """Those that were paid."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of purchases, by code."""
    under_way: int = 0


Ending = tuple[str, int, str]
"""An operation, the status of its answer, and the code."""


class Recorder:
    """Keeps all latencies as they are: what is averaged away while recording cannot be asked for afterwards."""

    def __init__(self) -> None:
        self.latencies_s: Mapping[Ending, array[float]] = defaultdict(_latencies)
        self.outcomes: Counter[Ending] = Counter()
        self.seconds: list[Second] = [Second()]
        self.requests = 0
        self.paid = 0
        self.in_time: Counter[str] = Counter()
        """How much of each operation had ended when no more purchases began: what rates are made of."""

    def request(self, operation: str, status: int, code: str, latency_s: float) -> None:
        """Write down a request. Its latency counts from when it should have left."""
        self.requests += 1
        self.outcomes[operation, status, code] += 1
        ending = operation, status, code
        self.latencies_s[ending].append(latency_s)
        second = self.seconds[-1]
        second.requests += 1
        if operation not in SLOW and is_success(ending):
            second.latencies_s.append(latency_s)

    def waited(self, operation: str, latency_s: float) -> None:
        """Write down how long something took that is no request of its own."""
        self.latencies_s[operation, 200, "ok"].append(latency_s)

    def purchase(self, status: int, code: str, latency_s: float | None) -> None:
        """Write down how a purchase ended, counted from when it should have begun; None: slow on purpose."""
        self.outcomes[PURCHASE, status, code] += 1
        if latency_s is not None:
            self.latencies_s[PURCHASE, status, code].append(latency_s)
        second = self.seconds[-1]
        second.outcomes[code] += 1
        if code == "succeeded":
            second.purchases += 1
            self.paid += 1

    def next_second(self, under_way: int) -> None:
        """End a second and begin the next."""
        self.seconds[-1].under_way = under_way
        self.seconds.append(Second())

    def end_of_time(self) -> None:
        """Note what was done in time; what still ends is counted, but makes no rate look higher."""
        self.in_time = self.counts()

    def counts(self) -> Counter[str]:
        """Count each operation; of purchases, those that were paid."""
        counts = Counter[str]()
        for (operation, _, _), latencies_s in self.latencies_s.items():
            counts[operation] += len(latencies_s)
        counts[PURCHASE] = self.paid
        return counts

    def successes_s(self, operation: str) -> list[float]:
        """Return the latencies of an operation that succeeded: a refusal is quick and proves nothing."""
        kept = (
            each for ending, each in self.latencies_s.items() if ending[0] == operation and is_success(ending)
        )
        return [latency_s for latencies_s in kept for latency_s in latencies_s]


def is_success(ending: Ending) -> bool:
    """Whether an operation did what it is for: a purchase is paid, a request is answered with 2xx."""
    operation, status, code = ending
    return code == "succeeded" if operation == PURCHASE else 200 <= status < 300


def percentile(ordered: array[float] | list[float], share: float) -> float:
    """Answer the value that a share of the ordered ones does not pass (nearest rank)."""
    assert ordered, "of nothing there are no percentiles"
    rank = max(1, -(-len(ordered) * round(share * 1000) // 1000))
    return ordered[rank - 1]
