"""Metrics of requests, of the engine and the store, and of several workers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from technopay.engine import Limit, ScriptTime, Statistics, StoreGauges, StoreUnavailable
from technopay.engine.models import from_ms
from technopay.http import metrics as module
from technopay.http.access_record import RequestRecord
from technopay.http.metrics import Metrics, merge, read_families, write_families
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit

GAUGES = StoreGauges(
    message_age_ms=1_500,
    set_aside_age_ms=60_000,
    limits=[
        Limit(currency="EUR", limit=100, used=40, remaining=60, resets_at=from_ms(0)),
        Limit(currency="USD", limit=None, used=7, remaining=None, resets_at=from_ms(0)),
    ],
    memory_bytes=1_000,
    memory_bytes_max=2_000,
)

ALONE = StoreGauges(message_age_ms=0, set_aside_age_ms=0, limits=[], memory_bytes=1_000, memory_bytes_max=None)


def make_metrics() -> tuple[Metrics, Any]:
    async def measure() -> StoreGauges:
        return GAUGES

    engine: Any = SimpleNamespace(statistics=Statistics(), measure=measure)
    return Metrics(engine, ConcurrencyLimit(ServerLimits(requests_max=10))), engine


async def lines(metrics: Metrics) -> list[str]:
    return (await metrics.render()).decode().splitlines()


def a_request(path: str, status: int, code: str = "", took_s: float = 0.003) -> RequestRecord:
    return RequestRecord("req-1", 0.0, {}, method="GET", template=path, status=status, code=code, took_s=took_s)


async def test_requests_are_counted_by_route_status_and_code() -> None:
    metrics, _ = make_metrics()
    for _ in range(3):
        metrics.observe(a_request("/v1/wallets/{wallet_id}", 404, "wallet_not_found"))

    told = await lines(metrics)

    labels = 'method="GET",route="/v1/wallets/{wallet_id}"'
    refused = f'technopay_requests_total{{code="wallet_not_found",{labels},status="404"}} 3.0'
    assert refused in told
    assert f'technopay_request_seconds_bucket{{le="0.0025",{labels}}} 0.0' in told
    assert f'technopay_request_seconds_bucket{{le="0.005",{labels}}} 3.0' in told


async def test_how_long_somebody_listened_is_no_latency() -> None:
    metrics, _ = make_metrics()
    stream = a_request("/v1/payments", 200, took_s=3_600)
    stream.is_stream = True
    metrics.observe(stream)
    metrics.observe(a_request("/v1/payments", 200))

    told = await lines(metrics)

    assert 'technopay_request_seconds_count{method="GET",route="/v1/payments"} 1.0' in told
    counted = 'code="",method="GET",route="/v1/payments",status="200"'
    assert f"technopay_requests_total{{{counted}}} 2.0" in told


async def test_paths_and_methods_that_are_not_ours_make_no_labels() -> None:
    metrics, _ = make_metrics()
    metrics.observe(RequestRecord("req-1", 0.0, {}, status=404, code="not_found"))

    told = await lines(metrics)

    counted = 'code="not_found",method="unknown",route="unknown",status="404"'
    assert f"technopay_requests_total{{{counted}}} 1.0" in told


async def test_the_engine_is_asked_whenever_the_metrics_are() -> None:
    metrics, engine = make_metrics()
    engine.statistics = Statistics(
        live_actors=1, commands_waiting=2, mailbox_depth_max=5, lease_waits=6, settlements_in_flight=3,
        payments_set_aside=4, listeners=7, script_times={"confirm_payment": ScriptTime(calls=8, total_s=0.5)},
    )  # fmt: skip

    told = await lines(metrics)

    for line in (
        "technopay_live_actors 1.0",
        "technopay_commands_waiting 2.0",
        "technopay_mailbox_depth_max 5.0",
        "technopay_lease_waits_total 6.0",
        "technopay_settlements_in_flight 3.0",
        "technopay_payments_set_aside 4.0",
        "technopay_listeners 7.0",
        'technopay_script_seconds_count{script="confirm_payment"} 8.0',
        'technopay_script_seconds_sum{script="confirm_payment"} 0.5',
    ):
        assert line in told
    assert any(line.startswith("process_resident_memory_bytes ") for line in told)


async def test_the_store_is_asked_whenever_the_metrics_are() -> None:
    metrics, _ = make_metrics()

    told = await lines(metrics)

    for line in (
        "technopay_store_up 1.0",
        "technopay_message_age_seconds 1.5",
        "technopay_payments_set_aside_age_seconds 60.0",
        'technopay_limit_used{currency="EUR"} 40.0',
        'technopay_limit{currency="EUR"} 100.0',
        'technopay_limit_used{currency="USD"} 7.0',
        "technopay_store_memory_bytes 1000.0",
        "technopay_store_memory_max_bytes 2000.0",
    ):
        assert line in told
    assert not any(line.startswith('technopay_limit{currency="USD"}') for line in told)


async def test_who_asks_while_metrics_are_made_gets_the_same_and_who_asks_later_new_ones() -> None:
    metrics, engine = make_metrics()
    asked = 0

    async def measure() -> StoreGauges:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return GAUGES

    engine.measure = measure

    first, *others = await asyncio.gather(*(metrics.render() for _ in range(5)))
    assert (asked, set(others)) == (1, {first})

    await metrics.render()
    assert asked == 2


async def test_who_leaves_while_metrics_are_made_takes_them_from_nobody() -> None:
    metrics, _ = make_metrics()
    leaving, staying = (asyncio.create_task(metrics.render()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert b"technopay_store_up 1.0" in await staying


async def test_without_a_store_there_is_what_is_known_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, engine = make_metrics()

    async def refuse() -> StoreGauges:
        raise StoreUnavailable

    async def hang() -> StoreGauges:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(module, "STORE_DEADLINE_S", 0.01)
    for measure in (refuse, hang):
        engine.measure = measure
        told = await lines(metrics)
        assert "technopay_store_up 0.0" in told
        assert "technopay_live_actors 0.0" in told
        assert not any(line.startswith("technopay_message_age_seconds") for line in told)


async def test_each_has_a_registry_of_its_own() -> None:
    first, second = make_metrics()[0], make_metrics()[0]
    first.observe(a_request("/v1/wallets", 200))

    assert any("/v1/wallets" in line for line in await lines(first))
    assert not any("/v1/wallets" in line for line in await lines(second))


class FixedPeers:
    """Peers that always export the same."""

    def __init__(self, name: str, told: Mapping[str, bytes | None]) -> None:
        self.name = name
        self._told = told

    async def collect(self) -> Mapping[str, bytes | None]:
        return self._told


def make_worker(peers: FixedPeers | None = None, *, requests: int = 0) -> Metrics:
    async def measure() -> StoreGauges:
        return ALONE

    engine: Any = SimpleNamespace(statistics=Statistics(lease_waits=requests), measure=measure)
    metrics = Metrics(engine, ConcurrencyLimit(ServerLimits(requests_max=10)), peers)
    for _ in range(requests):
        metrics.observe(RequestRecord("req-1", 0.0, {}, status=200, took_s=0.003))
    return metrics


async def told_of(told: Mapping[str, bytes | None]) -> tuple[str, dict[tuple[str, str], float]]:
    """What worker 0 answers, with three requests of its own; and the samples by name and worker."""
    text = (await make_worker(FixedPeers("0", told), requests=3).render()).decode()
    samples = {
        (sample.name, sample.labels.get("worker", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return text, samples


async def test_every_worker_is_told_of_and_every_family_is_there_once() -> None:
    text, samples = await told_of({"1": make_worker(requests=4).export()})

    assert samples["technopay_requests_total", "0"] == 3
    assert samples["technopay_requests_total", "1"] == 4
    assert samples["technopay_request_seconds_count", "1"] == 4
    assert samples["technopay_request_seconds_bucket", "1"] == 4
    assert samples["technopay_lease_waits_total", "1"] == 4
    assert samples["process_cpu_seconds_total", "1"] > 0
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert len(heads) == len(set(heads))
    assert text.count("# TYPE technopay_requests_total counter") == 1


async def test_what_all_have_in_common_is_there_once_and_is_nobodys() -> None:
    _, samples = await told_of({"1": make_worker().export()})

    for name in ("technopay_store_up", "technopay_store_memory_bytes", "technopay_payments_set_aside"):
        assert [key for key in samples if key[0] == name] == [(name, "")]


async def test_who_does_not_answer_is_down_and_nothing_of_theirs_is_told() -> None:
    supervisor = write_families(make_worker()._registry.collect())
    _, samples = await told_of({"1": None, "2": make_worker().export(), "supervisor": supervisor})

    assert samples["technopay_workers", ""] == 3
    ups = {worker: value for (name, worker), value in samples.items() if name == "technopay_worker_up"}
    assert ups == {"0": 1, "1": 0, "2": 1}
    assert ("process_cpu_seconds_total", "1") not in samples
    assert ("process_cpu_seconds_total", "supervisor") in samples


async def test_alone_nobody_is_named() -> None:
    text = (await make_worker(requests=1).render()).decode()

    assert "worker" not in text
    assert "\ntechnopay_lease_waits_total 1.0\n" in text


def test_what_is_written_down_is_read_as_it_was() -> None:
    families = list(make_worker(requests=2)._registry.collect())

    again = read_families(write_families(families))

    assert [(each.name, each.type, each.documentation) for each in again] == [
        (each.name, each.type, each.documentation) for each in families
    ]
    latency = next(each for each in again if each.name == "technopay_request_seconds")
    assert any(sample.labels.get("le") == "+Inf" and sample.value == 2 for sample in latency.samples)


def test_who_says_whose_a_sample_is_is_believed() -> None:
    families = read_families(b'[["restarts", "", "counter", [["restarts_total", {"worker": "1"}, 5]]]]')

    (merged,) = merge({"supervisor": families})

    assert [sample.labels for sample in merged.samples] == [{"worker": "1"}]
