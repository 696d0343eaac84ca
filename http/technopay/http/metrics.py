"""What Prometheus gets: requests, outcomes, and what the engine does. Each application has its own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from technopay.engine import Engine

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class EngineCollector(Collector):
    """Reads the engine's statistics whenever it is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Answer the gauges."""
        statistics = self._engine.statistics
        for name, text, value in (
            ("technopay_live_actors", "Wallets that have something to do.", statistics.live_actors),
            ("technopay_commands_waiting", "Commands without an outcome.", statistics.commands_waiting),
            ("technopay_settlements_in_flight", "Settlements that run.", statistics.settlements_in_flight),
            (
                "technopay_payments_set_aside",
                "Payments that wait for an operator, of all engines on this store.",
                statistics.payments_set_aside,
            ),
            ("technopay_listeners", "Streams of events that are open.", statistics.listeners),
        ):
            yield GaugeMetricFamily(name, text, value=value)


class Metrics:
    """The metrics of one application."""

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(EngineCollector(engine))
        self._latency = Histogram(
            "technopay_request_seconds",
            "How long requests take, by route.",
            ("route", "method"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._outcomes = Counter(
            "technopay_requests",
            "Requests by route, status and code of refusal.",
            ("route", "method", "status", "code"),
            registry=self._registry,
        )

    def observe(self, route: str, method: str, status: int, code: str, seconds: float) -> None:
        """Count one request."""
        self._latency.labels(route, method).observe(seconds)
        self._outcomes.labels(route, method, str(status), code).inc()

    def render(self) -> bytes:
        """Answer the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
