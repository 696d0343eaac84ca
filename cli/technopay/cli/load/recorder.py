"""Records every duration and outcome, in histograms of three significant digits, and by second."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Self

from hdrh.histogram import HdrHistogram

from technopay.cli.load.result import PURCHASE, Latency

SLOW = frozenset({"wait", "confirm_slow"})
"""Operations on a settlement that is slow on purpose: their durations are not in the series."""

LATENCY_US_MAX = 3_600_000_000


class Histogram:
    """Durations in seconds; three digits are exact."""

    def __init__(self) -> None:
        self._counts = HdrHistogram(1, LATENCY_US_MAX, 3)

    def record(self, seconds: float) -> None:
        self._counts.record_value(min(LATENCY_US_MAX, max(1, round(1e6 * seconds))))

    def add(self, other: Self) -> None:
        self._counts.add(other._counts)

    @property
    def count(self) -> int:
        return int(self._counts.get_total_count())

    def latency(self) -> Latency | None:
        if not self.count:
            return None
        values = (self._counts.get_value_at_percentile(percent) for percent in (50, 95, 99, 100))
        p50_ms, p95_ms, p99_ms, max_ms = (float(round(value / 1000, 3)) for value in values)
        return Latency(p50_ms=p50_ms, p95_ms=p95_ms, p99_ms=p99_ms, max_ms=max_ms)


@dataclass(slots=True)
class Second:
    """The operations that ended in one second of the run."""

    requests: int = 0
    purchases: int = 0
    """Paid ones."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of purchases, by code."""
    under_way: int = 0
    latency: Latency | None = None
    """Of requests that succeeded and are not slow on purpose."""


Ending = tuple[str, int, str]
"""An operation, the status of its reply, and the code."""


class Recorder:
    def __init__(self) -> None:
        self.latencies: defaultdict[Ending, Histogram] = defaultdict(Histogram)
        self.outcomes: Counter[Ending] = Counter()
        self.seconds: list[Second] = [Second()]
        self._second_latencies = Histogram()
        self.requests = 0
        self.paid = 0
        self.in_time: Counter[str] = Counter()
        """The count of each operation when no more purchases began: rates are computed from it."""

    def request(self, operation: str, status: int, code: str, latency_s: float) -> None:
        """Record a request. Its latency counts from when it was due."""
        ending = operation, status, code
        self.requests += 1
        self.outcomes[ending] += 1
        self.latencies[ending].record(latency_s)
        self.seconds[-1].requests += 1
        if operation not in SLOW and is_success(ending):
            self._second_latencies.record(latency_s)

    def wait(self, operation: str, latency_s: float) -> None:
        """Record a wait that is not a request."""
        self.latencies[operation, 200, "ok"].record(latency_s)

    def purchase(self, status: int, code: str, latency_s: float | None) -> None:
        """Record the end of a purchase, counted from when it was due; None: slow on purpose."""
        self.outcomes[PURCHASE, status, code] += 1
        if latency_s is not None:
            self.latencies[PURCHASE, status, code].record(latency_s)
        second = self.seconds[-1]
        second.outcomes[code] += 1
        if code == "succeeded":
            second.purchases += 1
            self.paid += 1

    def end_second(self, under_way: int) -> None:
        self.seconds[-1].under_way = under_way
        self.finish()
        self._second_latencies = Histogram()
        self.seconds.append(Second())

    def finish(self) -> None:
        """Complete the last second, which is not over."""
        self.seconds[-1].latency = self._second_latencies.latency()

    def end_of_time(self) -> None:
        """Keep the counts for rates: operations that end later are counted, but do not raise a rate."""
        self.in_time = self.counts()

    def counts(self) -> Counter[str]:
        """Count each operation; of purchases, the paid ones."""
        counts = Counter[str]()
        for (operation, _, _), histogram in self.latencies.items():
            counts[operation] += histogram.count
        counts[PURCHASE] = self.paid
        return counts

    def success_latency(self, operation: str) -> Latency | None:
        """Return the latency of an operation's successes: a refusal is quick and proves nothing."""
        successes = Histogram()
        for ending, histogram in self.latencies.items():
            if ending[0] == operation and is_success(ending):
                successes.add(histogram)
        return successes.latency()


def is_success(ending: Ending) -> bool:
    """Return whether a purchase was paid, a request replied to with 2xx."""
    operation, status, code = ending
    return code == "succeeded" if operation == PURCHASE else 200 <= status < 300
