"""What Prometheus gets: requests, outcomes, and what the engine does. Each application has its own."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from technopay.engine import Engine, StoreGauges, TechnopayError
from technopay.http.admission import Admission
from technopay.http.seen import Seen
from technopay.http.team import Team, merge, presence, read_families, write_families

STORE_DEADLINE_S = 1.0
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestCollector(Collector):
    """Counts requests, in plain numbers: they are counted a thousand times for each time that they are read."""

    def __init__(self) -> None:
        # By route and method: how many took how long, in buckets, and the sum of that.
        self._times: defaultdict[tuple[str, str], Times] = defaultdict(Times)
        self._outcomes: defaultdict[tuple[str, str, int, str], int] = defaultdict(int)

    def observe(self, seen: Seen) -> None:
        """Count one request."""
        route, method = seen.template or "unknown", seen.method
        self._outcomes[route, method, seen.status, seen.code] += 1
        if not seen.is_stream:
            times = self._times[route, method]
            times.counts[bisect_left(BUCKETS_S, seen.took_s)] += 1
            times.total_s += seen.took_s

    def collect(self) -> Iterator[Metric]:
        """Answer the metrics."""
        latency = HistogramMetricFamily(
            "technopay_request_seconds", "How long requests take, by route.", labels=["route", "method"]
        )
        for labels, times in self._times.items():
            bounds = [*map(str, BUCKETS_S), "+Inf"]
            counts = list(zip(bounds, accumulate(times.counts), strict=True))
            latency.add_metric(labels, counts, times.total_s)
        outcomes = CounterMetricFamily(
            "technopay_requests",
            "Requests by route, status and code of refusal.",
            labels=["route", "method", "status", "code"],
        )
        for (route, method, status, code), count in self._outcomes.items():
            outcomes.add_metric([route, method, str(status), code], count)
        yield from (latency, outcomes)


@dataclass(slots=True)
class Times:
    """How many requests took as long as each bucket says, and how long all took together."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0


class EngineCollector(Collector):
    """Tells what the engine of this process does."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """Answer the metrics."""
        engine = self._engine.statistics
        yield _gauge("requests_running", "Requests under way.", self._admission.running)
        yield _gauge(
            "requests_allowed", "Requests that may be under way; fewer under pressure.", self._admission.allowed
        )
        yield _gauge("live_actors", "Wallets that have something to do.", engine.live_actors)
        yield _gauge("commands_waiting", "Commands without an outcome.", engine.commands_waiting)
        yield _gauge(
            "mailbox_depth_max", "Commands that wait for the wallet with most.", engine.mailbox_depth_max
        )
        yield _gauge("settlements_in_flight", "Settlements that run.", engine.settlements_in_flight)
        yield _gauge("listeners", "Streams of events that are open.", engine.listeners)
        yield CounterMetricFamily(
            "technopay_lease_waits",
            "Commands that came to a wallet that another process had.",
            engine.lease_waits,
        )
        yield CounterMetricFamily(
            "technopay_claims_lost",
            "Settlements and messages that another process took over while this one worked on them.",
            engine.claims_lost,
        )
        mocks = GaugeMetricFamily("technopay_service_is_mock", "Services that are mocks.", labels=["service"])
        for name in engine.mocks:
            mocks.add_metric([name], 1)
        yield mocks
        times = SummaryMetricFamily(
            "technopay_script_seconds", "How long scripts took, waiting in line included.", labels=["script"]
        )
        for name, time in sorted(engine.script_times.items()):
            times.add_metric([name], time.calls, time.total_s)
        unreadable = CounterMetricFamily(
            "technopay_unreadable_records",
            "Records that cannot be read, while all others can.",
            labels=["kind"],
        )
        for kind, number in sorted(engine.unreadable.items()):
            unreadable.add_metric([kind], number)
        yield from (times, unreadable)


class StoreCollector(Collector):
    """Tells what is true of all engines on the store together, whoever tells it."""

    def __init__(self, engine: Engine, store: StoreGauges | None) -> None:
        self._engine = engine
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Answer the metrics; without a store, what is known without it."""
        yield _gauge(
            "payments_set_aside",
            "Payments that wait for an operator, of all engines on this store.",
            self._engine.statistics.payments_set_aside,
        )
        store = self._store
        yield _gauge("store_up", "Whether the store answered for these metrics.", store is not None)
        if store is None:
            return
        yield _gauge("message_age_seconds", "Age of the oldest unsent message.", store.message_age_ms / 1000)
        yield _gauge(
            "payments_set_aside_age_seconds",
            "How long ago the oldest payment was debited that waits for an operator.",
            store.set_aside_age_ms / 1000,
        )
        used = GaugeMetricFamily(
            "technopay_limit_used", "Of today's limit, in minor units.", labels=["currency"]
        )
        limits = GaugeMetricFamily("technopay_limit", "The daily limit, in minor units.", labels=["currency"])
        for limit in store.limits:
            used.add_metric([limit.currency], limit.used)
            if limit.limit is not None:
                limits.add_metric([limit.currency], limit.limit)
        yield from (used, limits)
        if store.memory_bytes is not None:
            yield _gauge("store_memory_bytes", "What the store has used.", store.memory_bytes)
        if store.memory_bytes_max is not None:
            yield _gauge("store_memory_max_bytes", "What the store may use.", store.memory_bytes_max)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"technopay_{name}", text, value=value)


class Metrics:
    """The metrics of one application, or of all that serve together."""

    def __init__(self, engine: Engine, admission: Admission, team: Team | None = None) -> None:
        self._engine = engine
        self._team = team
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(EngineCollector(engine, admission))
        self._requests = RequestCollector()
        self._registry.register(self._requests)
        self.observe = self._requests.observe
        self._rendering: asyncio.Task[bytes] | None = None

    def add(self, collector: Collector) -> None:
        """Have the metrics of a collector among those of this process."""
        self._registry.register(collector)

    def tell(self) -> bytes:
        """Write down what is this process's own, for another one of the team."""
        return write_families(self._registry.collect())

    async def render(self) -> bytes:
        """Answer the metrics in Prometheus' text format; whoever asks meanwhile gets the same.

        They cost as much as twenty requests, and nobody has to sign in to ask for them.
        """
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(self._render(), name="metrics")
        return await asyncio.shield(self._rendering)

    async def _render(self) -> bytes:
        store, own = await asyncio.gather(self._measure(), self._of_processes())
        return generate_latest(_Families([*own, *StoreCollector(self._engine, store).collect()]))

    async def _measure(self) -> StoreGauges | None:
        with suppress(TechnopayError, TimeoutError):
            async with asyncio.timeout(STORE_DEADLINE_S):
                return await self._engine.measure()
        return None

    async def _of_processes(self) -> list[Metric]:
        """Answer what is each process's own."""
        if self._team is None:
            return list(self._registry.collect())
        told = {**await self._team.ask(), self._team.name: self.tell()}
        answered = {name: read_families(answer) for name, answer in sorted(told.items()) if answer is not None}
        return [*presence(told), *merge(answered)]


class _Families(Collector):
    """Metrics that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Answer the metrics."""
        return self._families
