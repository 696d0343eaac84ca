"""Metrics of requests, of the engine and the store, and of several workers."""

import asyncio
from collections.abc import Mapping
from platform import python_version
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from technopay.engine import Limit, ScriptTime, Statistics, StoreGauges, StoreUnavailable, __version__
from technopay.engine.record import from_ms
from technopay.http import metrics as module
from technopay.http.access_record import RequestRecord
from technopay.http.metrics import Metrics, merge, read_families, write_families
from technopay.http.server.limits import ServerLimits
from technopay.http.server.load_shedding import ConcurrencyLimit

GAUGES = StoreGauges(
    message_age_ms=1_500,
    payments_set_aside=4,
    set_aside_age_ms=60_000,
    partitions_unreachable=2,
    limits=[
        Limit(currency="EUR", limit=100, used=40, remaining=60, resets_at=from_ms(0)),
        Limit(currency="USD", limit=None, used=7, remaining=None, resets_at=from_ms(0)),
    ],
    memory_bytes=1_000,
    memory_bytes_max=2_000,
    server="valkey 9.1.2",
)

ALONE = StoreGauges(
    message_age_ms=0,
    payments_set_aside=0,
    set_aside_age_ms=0,
    partitions_unreachable=0,
    limits=[],
    memory_bytes=1_000,
    memory_bytes_max=None,
)


def make_metrics() -> tuple[Metrics, Any]:
    async def measure() -> StoreGauges:
        return GAUGES

    engine: Any = SimpleNamespace(statistics=Statistics(), measure=measure)
    return Metrics(engine, ConcurrencyLimit(ServerLimits(requests_max=10))), engine


async def lines(metrics: Metrics) -> list[str]:
    return (await metrics.render()).decode().splitlines()


def a_request(path: str, status: int, code: str = "", took_s: float = 0.003) -> RequestRecord:
    return RequestRecord("req-1", 0.0, {}, method="GET", template=path, status=status, code=code, took_s=took_s)


async def test_requests_are_counted_by_route_status_and_code_and_streams_without_their_time() -> None:
    metrics, _ = make_metrics()
    stream = a_request("/v1/payments", 200, took_s=3_600)
    stream.is_stream = True
    unknown = RequestRecord("req-1", 0.0, {}, status=404, code="not_found")
    for request in (stream, a_request("/v1/payments", 200), unknown):
        metrics.observe(request)
    for _ in range(3):
        metrics.observe(a_request("/v1/wallets/{wallet_id}", 404, "wallet_not_found"))

    shown = await lines(metrics)

    labels = 'method="GET",route="/v1/wallets/{wallet_id}"'
    for line in (
        f'technopay_requests_total{{code="wallet_not_found",{labels},status="404"}} 3.0',
        f'technopay_request_seconds_bucket{{le="0.0025",{labels}}} 0.0',
        f'technopay_request_seconds_bucket{{le="0.005",{labels}}} 3.0',
        'technopay_request_seconds_count{method="GET",route="/v1/payments"} 1.0',
        'technopay_requests_total{code="",method="GET",route="/v1/payments",status="200"} 2.0',
        'technopay_requests_total{code="not_found",method="unknown",route="unknown",status="404"} 1.0',
    ):
        assert line in shown


async def test_the_engine_and_the_store_are_read_at_each_scrape() -> None:
    metrics, engine = make_metrics()
    engine.statistics = Statistics(
        live_actors=1, commands_waiting=2, mailbox_depth_max=5, lease_waits=6, settlements_in_flight=3,
        listeners=7, script_times={"confirm_payment": ScriptTime(calls=8, total_s=0.5)},
        payments={("succeeded", "EUR"): 9, ("expired", "JPY"): 1}, messages_dead=2,
    )  # fmt: skip

    shown = await lines(metrics)

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
        'technopay_payments_total{currency="EUR",outcome="succeeded"} 9.0',
        'technopay_payments_total{currency="JPY",outcome="expired"} 1.0',
        "technopay_messages_dead_total 2.0",
        f'technopay_build_info{{python="{python_version()}",store="valkey 9.1.2",version="{__version__}"}} 1.0',
        "technopay_store_up 1.0",
        "technopay_message_age_seconds 1.5",
        "technopay_payments_set_aside_age_seconds 60.0",
        "technopay_store_partitions_unreachable 2.0",
        'technopay_limit_used{currency="EUR"} 40.0',
        'technopay_limit{currency="EUR"} 100.0',
        'technopay_limit_used{currency="USD"} 7.0',
        "technopay_store_memory_bytes 1000.0",
        "technopay_store_memory_max_bytes 2000.0",
    ):
        assert line in shown
    assert any(line.startswith("process_resident_memory_bytes ") for line in shown)
    assert not any(line.startswith('technopay_limit{currency="USD"}') for line in shown)


async def test_concurrent_scrapes_share_one_reading_and_a_later_one_reads_anew() -> None:
    metrics, engine = make_metrics()
    readings = 0

    async def measure() -> StoreGauges:
        nonlocal readings
        readings += 1
        await asyncio.sleep(0)
        return GAUGES

    engine.measure = measure

    leaving, *staying = [asyncio.create_task(metrics.render()) for _ in range(5)]
    await asyncio.sleep(0)
    leaving.cancel()
    shown = set(await asyncio.gather(*staying))
    assert (readings, len(shown)) == (1, 1)
    assert b"technopay_store_up 1.0" in shown.pop()

    await metrics.render()
    assert readings == 2


async def test_without_a_store_the_other_metrics_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, engine = make_metrics()

    async def refuse() -> StoreGauges:
        raise StoreUnavailable

    async def hang() -> StoreGauges:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(module, "STORE_DEADLINE_S", 0.01)
    for measure in (refuse, hang):
        engine.measure = measure
        shown = await lines(metrics)
        assert "technopay_store_up 0.0" in shown
        assert any(line.startswith("technopay_build_info{") and 'store="unknown"' in line for line in shown)
        assert "technopay_live_actors 0.0" in shown
        assert not any(line.startswith("technopay_message_age_seconds") for line in shown)


class FixedPeers:
    """Peers with fixed exports."""

    def __init__(self, name: str, exports: Mapping[str, bytes | None]) -> None:
        self.name = name
        self._exports = exports

    async def collect(self) -> Mapping[str, bytes | None]:
        return self._exports


def make_worker(peers: FixedPeers | None = None, *, requests: int = 0) -> Metrics:
    async def measure() -> StoreGauges:
        return ALONE

    engine: Any = SimpleNamespace(statistics=Statistics(lease_waits=requests), measure=measure)
    metrics = Metrics(engine, ConcurrencyLimit(ServerLimits(requests_max=10)), peers)
    for _ in range(requests):
        metrics.observe(RequestRecord("req-1", 0.0, {}, status=200, took_s=0.003))
    return metrics


async def merged(exports: Mapping[str, bytes | None]) -> tuple[str, dict[tuple[str, str], float]]:
    """Render worker 0 after three requests; return the text, and its samples by name and worker."""
    text = (await make_worker(FixedPeers("0", exports), requests=3).render()).decode()
    samples = {
        (sample.name, sample.labels.get("worker", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return text, samples


async def test_every_worker_has_its_samples_and_shared_gauges_and_families_are_there_once() -> None:
    text, samples = await merged({"1": make_worker(requests=4).export()})

    assert samples["technopay_requests_total", "0"] == 3
    for name in ("requests_total", "request_seconds_count", "request_seconds_bucket", "lease_waits_total"):
        assert samples[f"technopay_{name}", "1"] == 4
    assert samples["process_cpu_seconds_total", "1"] > 0
    for name in (
        "technopay_build_info", "technopay_store_up", "technopay_store_memory_bytes",
        "technopay_payments_set_aside",
    ):  # fmt: skip
        assert [key for key in samples if key[0] == name] == [(name, "")]
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert len(heads) == len(set(heads))
    assert text.count("# TYPE technopay_requests_total counter") == 1


async def test_a_worker_without_an_export_is_down_and_has_no_samples() -> None:
    supervisor = write_families(make_worker()._registry.collect())
    _, samples = await merged({"1": None, "2": make_worker().export(), "supervisor": supervisor})

    assert samples["technopay_workers", ""] == 3
    ups = {worker: value for (name, worker), value in samples.items() if name == "technopay_worker_up"}
    assert ups == {"0": 1, "1": 0, "2": 1}
    assert ("process_cpu_seconds_total", "1") not in samples
    assert ("process_cpu_seconds_total", "supervisor") in samples


async def test_a_single_process_has_no_label_of_a_worker() -> None:
    text = (await make_worker(requests=1).render()).decode()

    assert "worker" not in text
    assert "\ntechnopay_lease_waits_total 1.0\n" in text


def test_exported_families_are_read_unchanged_and_keep_a_worker_that_they_name() -> None:
    families = list(make_worker(requests=2)._registry.collect())

    again = read_families(write_families(families))

    assert [(each.name, each.type, each.documentation) for each in again] == [
        (each.name, each.type, each.documentation) for each in families
    ]
    latency = next(each for each in again if each.name == "technopay_request_seconds")
    assert any(sample.labels.get("le") == "+Inf" and sample.value == 2 for sample in latency.samples)

    restarts = read_families(b'[["restarts", "", "counter", [["restarts_total", {"worker": "1"}, 5]]]]')
    (only,) = merge({"supervisor": restarts})
    assert [sample.labels for sample in only.samples] == [{"worker": "1"}]
