"""Prometheus metrics: requests, the engine and the store, of one process or of several workers.

A worker that is asked for metrics collects those of the others, so that one address serves all.
"""

import asyncio
import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from platform import python_version
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from technopay.engine import Engine, StoreGauges, TechnopayError, __version__
from technopay.http.access_record import RequestRecord
from technopay.http.server.load_shedding import ConcurrencyLimit

STORE_DEADLINE_S = 1.0
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class WorkerPeers(Protocol):
    """The other processes that serve together with this one."""

    @property
    def name(self) -> str:
        """The name of this worker."""
        ...

    async def collect(self) -> Mapping[str, bytes | None]:
        """Return the exported metrics of the others by name, in bounded time; None for one that does not reply.

        A name of a worker is a number; other processes, like the supervisor, have other names.
        """
        ...


class RequestCollector(Collector):
    """Counts requests in plain numbers: the library's counters have locks, and are seldom read."""

    def __init__(self) -> None:
        # By route and method.
        self._times: defaultdict[tuple[str, str], Times] = defaultdict(Times)
        self._outcomes: defaultdict[tuple[str, str, int, str], int] = defaultdict(int)

    def observe(self, record: RequestRecord) -> None:
        route, method = record.template or "unknown", record.method
        self._outcomes[route, method, record.status, record.code] += 1
        if not record.is_stream:
            times = self._times[route, method]
            times.counts[bisect_left(BUCKETS_S, record.took_s)] += 1
            times.total_s += record.took_s

    def collect(self) -> Iterator[Metric]:
        latency = HistogramMetricFamily(
            "technopay_request_seconds", "Duration of requests by route.", labels=["route", "method"]
        )
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        for labels, times in self._times.items():
            latency.add_metric(labels, list(zip(bounds, accumulate(times.counts), strict=True)), times.total_s)
        yield latency
        requests = CounterMetricFamily(
            "technopay_requests",
            "Requests by route, status and code of refusal.",
            labels=["route", "method", "status", "code"],
        )
        for (route, method, status, code), count in self._outcomes.items():
            requests.add_metric((route, method, str(status), code), count)
        yield requests


@dataclass(slots=True)
class Times:
    """A histogram of durations."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0


class EngineCollector(Collector):
    """Metrics of the engine of this process."""

    def __init__(self, engine: Engine, concurrency: ConcurrencyLimit) -> None:
        self._engine = engine
        self._concurrency = concurrency

    def collect(self) -> Iterator[Metric]:
        engine = self._engine.statistics
        for name, text, value in (
            ("requests_running", "Concurrent requests.", self._concurrency.running),
            ("requests_allowed", "Limit of concurrent requests; lower while the event loop is late.",
             self._concurrency.allowed),
            ("live_actors", "Actors of wallets with commands.", engine.live_actors),
            ("commands_waiting", "Commands without a result.", engine.commands_waiting),
            ("mailbox_depth_max", "Commands in the longest mailbox.", engine.mailbox_depth_max),
            ("settlements_in_flight", "Running settlements.", engine.settlements_in_flight),
            ("listeners", "Open streams of events.", engine.listeners),
        ):  # fmt: skip
            yield _gauge(name, text, value)
        text = "Commands for a wallet whose lease another process had."
        yield CounterMetricFamily("technopay_lease_waits", text, engine.lease_waits)
        text = "Settlements and messages that another process took over."
        yield CounterMetricFamily("technopay_claims_lost", text, engine.claims_lost)
        mocks = dict.fromkeys(engine.mocks, 1)
        yield _by_label(GaugeMetricFamily, "service_is_mock", "Services that are mocks.", "service", mocks)
        text = "Duration of scripts, including the wait for the store."
        times = SummaryMetricFamily("technopay_script_seconds", text, labels=["script"])
        for name, time in sorted(engine.script_times.items()):
            times.add_metric([name], time.calls, time.total_s)
        yield times
        text = "Payments by outcome and currency; a refunded one succeeded before."
        payments = CounterMetricFamily("technopay_payments", text, labels=["outcome", "currency"])
        for labels, count in sorted(engine.payments.items()):
            payments.add_metric(labels, count)
        yield payments
        text = "Messages that were given up after their last attempt."
        yield CounterMetricFamily("technopay_messages_dead", text, engine.messages_dead)
        unreadable = dict(sorted(engine.unreadable.items()))
        text = "Records that cannot be read."
        yield _by_label(CounterMetricFamily, "unreadable_records", text, "kind", unreadable)


def store_metrics(store: StoreGauges | None) -> Iterator[Metric]:
    """Yield the metrics of the store and of all engines on it: the same from every worker."""
    text = "The versions of technopay, of Python, and of the store's server."
    versions = {"version": __version__, "python": python_version()}
    build = GaugeMetricFamily("technopay_build_info", text, labels=[*versions, "store"])
    build.add_metric([*versions.values(), (store and store.server) or "unknown"], 1)
    yield build
    yield _gauge("store_up", "Whether the store replied for these metrics.", store is not None)
    if store is None:
        return
    yield _gauge("message_age_seconds", "Age of the oldest unsent message.", store.message_age_ms / 1000)
    text = "Payments that wait for an operator, of all engines on this store."
    yield _gauge("payments_set_aside", text, store.payments_set_aside)
    text = "Time since the debit of the oldest payment that waits for an operator."
    yield _gauge("payments_set_aside_age_seconds", text, store.set_aside_age_ms / 1000)
    text = "Partitions of the store that do not reply; other gauges are without them."
    yield _gauge("store_partitions_unreachable", text, store.partitions_unreachable)
    used = {each.currency: each.used for each in store.limits}
    yield _by_label(GaugeMetricFamily, "limit_used", "Of today's limit, in minor units.", "currency", used)
    limits = {each.currency: each.limit for each in store.limits if each.limit is not None}
    yield _by_label(GaugeMetricFamily, "limit", "The daily limit, in minor units.", "currency", limits)
    if store.archive_lag_ms is not None:
        text = "Age of the oldest journal entry that is not archived."
        yield _gauge("archive_lag_seconds", text, store.archive_lag_ms / 1000)
    if store.memory_bytes is not None:
        yield _gauge("store_memory_bytes", "Memory that the store uses.", store.memory_bytes)
    if store.memory_bytes_max is not None:
        yield _gauge("store_memory_max_bytes", "Memory limit of the store.", store.memory_bytes_max)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"technopay_{name}", text, value=value)


def _by_label(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Mapping[str, float],
) -> Metric:
    family = kind(f"technopay_{name}", text, labels=[label])
    for labelled, value in values.items():
        family.add_metric([labelled], value)
    return family


class Metrics:
    """The metrics of one application or of all workers."""

    def __init__(self, engine: Engine, concurrency: ConcurrencyLimit, peers: WorkerPeers | None = None) -> None:
        self._engine = engine
        self._peers = peers
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(EngineCollector(engine, concurrency))
        self._requests = RequestCollector()
        self._registry.register(self._requests)
        self.observe = self._requests.observe
        self._rendering: asyncio.Task[bytes] | None = None

    def add(self, collector: Collector) -> None:
        self._registry.register(collector)

    def export(self) -> bytes:
        """Return the metrics of this process for another worker."""
        return write_families(self._registry.collect())

    async def render(self) -> bytes:
        """Return the metrics in Prometheus' text format; concurrent calls share one result.

        They cost as much as twenty requests and need no sign-in.
        """
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(self._render(), name="metrics")
        return await asyncio.shield(self._rendering)

    async def _render(self) -> bytes:
        store, own = await asyncio.gather(self._measure(), self._process_metrics())
        return generate_latest(_Families([*own, *store_metrics(store)]))

    async def _measure(self) -> StoreGauges | None:
        with suppress(TechnopayError, TimeoutError):
            async with asyncio.timeout(STORE_DEADLINE_S):
                return await self._engine.measure()
        return None

    async def _process_metrics(self) -> list[Metric]:
        if self._peers is None:
            return list(self._registry.collect())
        exports = {**await self._peers.collect(), self._peers.name: self.export()}
        up = {name: read_families(export) for name, export in sorted(exports.items()) if export is not None}
        return [*worker_up(exports), *merge(up)]


METRICS = web.AppKey("metrics", Metrics)


class _Families(Collector):
    """Metrics that are already collected."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def write_families(families: Iterable[Metric]) -> bytes:
    """Write metrics for another process: as JSON, which is parsed fifty times as fast as Prometheus' text."""
    written = [
        (each.name, each.documentation, each.type, [(one.name, one.labels, one.value) for one in each.samples])
        for each in families
    ]
    return json.dumps(written).encode()


def read_families(exported: bytes) -> list[Metric]:
    """Read metrics that another process wrote."""
    families = []
    for name, text, kind, samples in json.loads(exported):
        family = Metric(name, text, kind)
        for sample, labels, value in samples:
            family.add_sample(sample, labels, value)
        families.append(family)
    return families


def merge(exports: Mapping[str, Iterable[Metric]]) -> list[Metric]:
    """Merge the metrics of several processes; every sample gets the label `worker`, unless it has one."""
    merged: dict[str, Metric] = {}
    for process, families in exports.items():
        for family in families:
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {"worker": process, **sample.labels}, sample.value)
    return list(merged.values())


def worker_up(exports: Mapping[str, Any]) -> list[Metric]:
    """Return which workers there are and which of them replied."""
    workers = sorted((name for name in exports if name.isdigit()), key=int)
    up = {name: exports[name] is not None for name in workers}
    text = "Whether a worker replied for these metrics."
    return [
        _gauge("workers", "Configured workers.", len(workers)),
        _by_label(GaugeMetricFamily, "worker_up", text, "worker", up),
    ]
