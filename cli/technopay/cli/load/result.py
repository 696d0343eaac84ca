"""What a run found: figures, outcomes, series over time, and the verdict. It is what `--json` writes."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from technopay.engine import Audit


class Finding(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Plan(Finding):
    """What was to be run."""

    url: str
    scenario: str
    duration_s: float
    users: int
    """How many users, each with a wallet, took part."""
    concurrency: int
    """How many purchases may have been under way at a time."""
    rate_per_s: float | None
    """Purchases that were to begin each second, whatever became of earlier ones; None with fixed users."""


class Latency(Finding):
    """How long something took, in milliseconds, counted from when it should have begun."""

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
    """Of what succeeded; None where nothing did."""


class Outcome(Finding):
    """How often an operation ended in one way."""

    operation: str
    status: int
    """Of HTTP; 0 where no answer came."""
    code: str
    """Of the refusal; the payment's status where it was none; what failed where no answer came."""
    count: int
    latency: Latency | None


class Story(Finding):
    """How often a kind of purchase went as it has to go."""

    name: str
    begun: int
    ended: int
    """The rest was cut off by the end of the run."""
    as_expected: int
    turned_away: int
    """Answered that the server has too much to do, or not at all: the right end under too much load."""
    surprises: dict[str, int]
    """What else came of it, and how often."""


class Series(Finding):
    """What happened in each second: all lists are as long as `at_s`. None where nothing is known."""

    at_s: list[float]
    """Seconds since the beginning."""
    purchases_per_s: list[float]
    requests_per_s: list[float]
    p50_ms: list[float | None]
    """Of requests, counted from when each should have left."""
    p95_ms: list[float | None]
    p99_ms: list[float | None]
    outcomes: dict[str, list[int]]
    """How purchases ended, by code."""
    under_way: list[int]
    """Purchases under way at the end of the second."""
    server_cpu: list[float | None]
    """Cores that the server used, all of its workers together."""
    server_memory_bytes: list[float | None]
    """Resident memory of the server, all of its workers together."""
    store_memory_bytes: list[float | None]


class Server(Finding):
    """What the run cost the server, by its own metrics. None where they do not tell."""

    cpu_us_per_request: float | None
    memory_bytes_before: float | None
    memory_bytes_after: float | None
    memory_bytes_max: float | None
    store_bytes_per_purchase: float | None


class Generator(Finding):
    """How this program itself did: where it was too busy, the figures are its own and not the server's."""

    cpu: float
    """Cores that it used; one is the most that it can."""
    lag_p99_ms: float
    """How much later than it should have a purchase began."""
    is_to_be_trusted: bool


class Verdict(Finding):
    """Whether money moved as it has to."""

    clean: bool
    acknowledged: int
    """Answers that told of a payment, all kept and compared with what the server says in the end."""
    audit: Audit | None
    """The server's own audit; None where it gave none."""
    differences: list[str]
    """What this program's own journal found, each beginning with the name of the invariant."""
    problem: str | None
    """Why there is no verdict, where there is none."""

    @property
    def broken_invariants(self) -> list[str]:
        """The names of the invariants that do not hold."""
        names = [line.partition(":")[0] for line in self.differences]
        names += [difference.invariant for difference in self.audit.differences] if self.audit else []
        return sorted(set(names))

    @property
    def is_broken(self) -> bool:
        """Whether an invariant is seen not to hold."""
        return bool(self.broken_invariants)


class Result(Finding):
    """All of it."""

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
    """The share of the ended purchases that were turned away: 429, 503, 504, or no answer."""
    never_begun: int
    """Purchases that were due and waited in line until the time was over."""
    stories: list[Story]
    series: Series
    server: Server
    generator: Generator
    verdict: Verdict
