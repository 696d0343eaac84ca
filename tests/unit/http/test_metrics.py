"""Metrics: what was observed is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from technopay.engine import Statistics
from technopay.http.metrics import Metrics


def make_metrics() -> tuple[Metrics, Any]:
    engine: Any = SimpleNamespace(statistics=Statistics(0, 0, 0, 0))
    return Metrics(engine), engine


def test_requests_are_counted_by_route_status_and_code() -> None:
    metrics, _ = make_metrics()
    for _ in range(3):
        metrics.observe("/v1/wallets/{wallet_id}", "GET", 404, "wallet_not_found", 0.003)

    lines = metrics.render().decode().splitlines()

    labels = 'method="GET",route="/v1/wallets/{wallet_id}"'
    refused = f'technopay_requests_total{{code="wallet_not_found",{labels},status="404"}} 3.0'
    assert refused in lines
    assert f'technopay_request_seconds_bucket{{le="0.0025",{labels}}} 0.0' in lines
    assert f'technopay_request_seconds_bucket{{le="0.005",{labels}}} 3.0' in lines


def test_the_engine_is_asked_whenever_the_metrics_are() -> None:
    metrics, engine = make_metrics()
    engine.statistics = Statistics(
        live_actors=1, commands_waiting=2, settlements_in_flight=3, payments_set_aside=4, listeners=5
    )

    text = metrics.render().decode()

    assert "technopay_live_actors 1.0" in text
    assert "technopay_commands_waiting 2.0" in text
    assert "technopay_settlements_in_flight 3.0" in text
    assert "technopay_payments_set_aside 4.0" in text
    assert "technopay_listeners 5.0" in text


def test_each_has_a_registry_of_its_own() -> None:
    first, second = make_metrics()[0], make_metrics()[0]
    first.observe("/livez", "GET", 200, "", 0.1)

    assert "/livez" not in second.render().decode()
