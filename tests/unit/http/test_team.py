"""Metrics of several processes: each family once, whose each sample is, and what all have in common once."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from technopay.engine import Statistics, StoreGauges
from technopay.http.admission import Admission
from technopay.http.metrics import Metrics
from technopay.http.seen import Seen
from technopay.http.team import merge, read_families, write_families

GAUGES = StoreGauges(message_age_ms=0, set_aside_age_ms=0, limits=[], memory_bytes=1_000, memory_bytes_max=None)


class FixedTeam:
    """A team whose other members always tell the same."""

    def __init__(self, name: str, told: Mapping[str, bytes | None]) -> None:
        self.name = name
        self._told = told

    async def ask(self) -> Mapping[str, bytes | None]:
        return self._told


def make_metrics(team: FixedTeam | None = None, *, requests: int = 0) -> Metrics:
    async def measure() -> StoreGauges:
        return GAUGES

    engine: Any = SimpleNamespace(statistics=Statistics(lease_waits=requests), measure=measure)
    metrics = Metrics(engine, Admission(10), team)
    for _ in range(requests):
        metrics.observe(Seen("req-1", 0.0, {}, status=200, took_s=0.003))
    return metrics


async def told_of(told: Mapping[str, bytes | None]) -> tuple[str, dict[tuple[str, str], float]]:
    """What worker 0 answers, with three requests of its own; and the samples by name and worker."""
    text = (await make_metrics(FixedTeam("0", told), requests=3).render()).decode()
    samples = {
        (sample.name, sample.labels.get("worker", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return text, samples


async def test_every_worker_is_told_of_and_every_family_is_there_once() -> None:
    text, samples = await told_of({"1": make_metrics(requests=4).tell()})

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
    _, samples = await told_of({"1": make_metrics().tell()})

    for name in ("technopay_store_up", "technopay_store_memory_bytes", "technopay_payments_set_aside"):
        assert [key for key in samples if key[0] == name] == [(name, "")]


async def test_who_does_not_answer_is_down_and_nothing_of_theirs_is_told() -> None:
    supervisor = write_families(make_metrics()._registry.collect())
    _, samples = await told_of({"1": None, "2": make_metrics().tell(), "supervisor": supervisor})

    assert samples["technopay_workers", ""] == 3
    ups = {worker: value for (name, worker), value in samples.items() if name == "technopay_worker_up"}
    assert ups == {"0": 1, "1": 0, "2": 1}
    assert ("process_cpu_seconds_total", "1") not in samples
    assert ("process_cpu_seconds_total", "supervisor") in samples


async def test_alone_nobody_is_named() -> None:
    text = (await make_metrics(requests=1).render()).decode()

    assert "worker" not in text
    assert "\ntechnopay_lease_waits_total 1.0\n" in text


def test_what_is_written_down_is_read_as_it_was() -> None:
    families = list(make_metrics(requests=2)._registry.collect())

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
