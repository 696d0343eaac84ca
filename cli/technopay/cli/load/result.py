"""The result of a run: figures, outcomes, series over time, and the verdict. `--json` writes it."""

from collections import Counter
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from technopay.engine import Audit

PURCHASE = "purchase"
"""The operation that is all requests of one purchase together."""


class Finding(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Plan(Finding):
    url: str
    scenario: str
    duration_s: float
    users: int
    """Users, each with a wallet."""
    concurrency: int
    """Purchases under way at a time, at most."""
    rate_per_s: float | None
    """Purchases to begin each second, however long earlier ones take; None with a fixed number of users."""


class Latency(Finding):
    """Durations in milliseconds, counted from when the operation was due."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Operation(Finding):
    """One kind of request, or the whole purchase."""

    name: str
    """`invoice`, `start`, `code`, `confirm`, `wait`, and `purchase` for all of it together."""
    count: int
    per_s: float
    latency: Latency | None
    """Of successes; None without one."""


class Outcome(Finding):
    """The number of times that an operation ended in one way."""

    operation: str
    status: int
    """Of HTTP; 0 without a reply."""
    code: str
    """Of the refusal, else the payment's status; without a reply, the kind of failure."""
    count: int
    latency: Latency | None


class FlowResult(Finding):
    """The purchases of one flow, counted during the run."""

    model_config = ConfigDict(frozen=False)

    name: str
    begun: int = 0
    ended: int = 0
    """The rest was cut off by the end of the run."""
    as_expected: int = 0
    turned_away: int = 0
    """Rejected by a server at capacity, or not replied to: the right end under too much load."""
    surprises: Counter[str] = Field(default_factory=Counter)
    """Unexpected results, with their number."""


class Series(Finding):
    """The run by second: all lists are as long as `at_s`. None is not known."""

    at_s: list[float]
    """Seconds since the beginning."""
    purchases_per_s: list[float]
    requests_per_s: list[float]
    p50_ms: list[float | None]
    """Of requests, counted from when each was due."""
    p95_ms: list[float | None]
    p99_ms: list[float | None]
    outcomes: dict[str, list[int]]
    """Of purchases, by code."""
    under_way: list[int]
    """Purchases under way at the end of the second."""
    server_cpu: list[float | None]
    """Cores in use by the server, all of its workers together."""
    server_memory_bytes: list[float | None]
    """Resident memory of the server, all of its workers together."""
    store_memory_bytes: list[float | None]


class Server(Finding):
    """The cost of the run to the server, by its metrics. None is not known."""

    cpu_us_per_request: float | None
    memory_bytes_before: float | None
    memory_bytes_after: float | None
    memory_bytes_max: float | None
    store_bytes_per_purchase: float | None


class Generator(Finding):
    """The load generator itself: if it is too busy, the figures are its own and not the server's."""

    cpu: float
    """Cores in use; one is the most."""
    lag_p99_ms: float
    """The delay of its event loop."""
    is_to_be_trusted: bool


class Verdict(Finding):
    """Whether every invariant of money held."""

    clean: bool
    acknowledged: int
    """Replies with a payment, all kept and compared with the server's state in the end."""
    audit: Audit | None
    differences: list[str]
    """The findings of this program; each line begins with the name of the invariant."""
    problem: str | None
    """Why there is no verdict."""

    @property
    def broken_invariants(self) -> list[str]:
        names = [line.partition(":")[0] for line in self.differences]
        names += [difference.invariant for difference in self.audit.differences] if self.audit else []
        return sorted(set(names))

    @property
    def judgement(self) -> Literal["clean", "broken", "unknown"]:
        """One difference is enough for broken, even if another check failed to run."""
        if self.broken_invariants:
            return "broken"
        return "clean" if self.clean and self.problem is None else "unknown"


class Result(Finding):
    version: str
    machine: str
    began_at: datetime
    ran_s: float
    ended_early: bool
    """By Ctrl-C."""
    plan: Plan
    operations: list[Operation]
    outcomes: list[Outcome]
    rejected: float
    """The share of the ended purchases that were rejected: 429, 503, 504, or no reply."""
    never_begun: int
    """Purchases that were due and still waited for a place at the end."""
    stories: list[FlowResult]
    series: Series
    server: Server
    generator: Generator
    verdict: Verdict

    @property
    def unexpected(self) -> int:
        """The number of purchases with an unexpected result."""
        return sum(flow.surprises.total() for flow in self.stories)

    @property
    def purchase(self) -> Operation | None:
        """The operation that is all requests of one purchase together."""
        return next((each for each in self.operations if each.name == PURCHASE), None)
