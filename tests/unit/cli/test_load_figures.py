"""The result of a run: every figure is known or None, never made up."""

from datetime import UTC, datetime
from typing import cast

import pytest
from support.fixtures.load import make_plan

from technopay.cli.load.figures import make_result
from technopay.cli.load.flows import pay
from technopay.cli.load.recorder import Histogram, Recorder
from technopay.cli.load.result import PURCHASE, FlowResult, Result, Verdict
from technopay.cli.load.server_metrics import MetricsSample, ServerMetrics
from technopay.cli.load.traffic import Traffic

BEGAN_S = 1_000.0
VERDICT = Verdict(clean=True, acknowledged=0, audit=None, differences=[], problem=None)


class Ended:
    """An ended traffic."""

    def __init__(self, ran_s: float = 2.0) -> None:
        self.ran_s = ran_s
        self.began_s = BEGAN_S
        self.cpu_s = 0.5
        self.ended_early = False
        self.never_begun = 0
        self.lags = Histogram()
        self.tallies = {pay: FlowResult(name="pay", begun=3, ended=2, as_expected=1)}


class Read:
    """Metrics that were read at some times."""

    def __init__(self, *samples: MetricsSample) -> None:
        self.samples = list(samples)
        self.requests = len(samples)


def result(recorder: Recorder, traffic: Ended | None = None, metrics: Read | None = None) -> Result:
    return make_result(
        make_plan(), datetime.now(UTC), recorder, cast("Traffic", traffic or Ended()),
        cast("ServerMetrics", metrics or Read()), VERDICT,
    )  # fmt: skip


def recorded(seconds: int = 4) -> Recorder:
    """Record a request and a purchase in each second, and one request in the unfinished second."""
    recorder = Recorder()
    for number in range(seconds):
        recorder.request("start", 201, "requires_confirmation", 0.1 * (number + 1))
        recorder.purchase(200, "succeeded", 0.2)
        recorder.end_second(under_way=number)
    recorder.request("start", 201, "requires_confirmation", 9.0)
    recorder.end_of_time()
    return recorder


def test_all_lists_by_second_are_of_one_length_and_the_second_that_is_not_over_is_left_out() -> None:
    found = result(recorded()).series

    lists = [value for name, value in found if name != "outcomes"] + list(found.outcomes.values())
    assert {len(each) for each in lists} == {4}
    assert (found.at_s, found.requests_per_s) == ([0.0, 1.0, 2.0, 3.0], [1.0] * 4)
    assert found.purchases_per_s == [1.0] * 4
    assert found.p50_ms == found.p99_ms == pytest.approx([100.0, 200.0, 300.0, 400.0], rel=0.001)
    assert (found.outcomes, found.under_way) == ({"succeeded": [1] * 4}, [0, 1, 2, 3])


def test_of_a_short_run_the_second_that_is_not_over_is_shown_too() -> None:
    for seconds in (2, 3):
        assert result(recorded(seconds)).series.at_s == [0.0, 1.0, 2.0]


def test_the_use_of_the_server_is_known_only_by_samples() -> None:
    metrics = Read(
        MetricsSample(BEGAN_S - 0.5, 10.0, 100.0, 1_000.0),
        MetricsSample(BEGAN_S + 0.5, 10.5, 110.0, 1_100.0),
        MetricsSample(BEGAN_S + 1.5, None, None, None),
        MetricsSample(BEGAN_S + 2.5, 11.5, 105.0, 1_300.0),
        MetricsSample(BEGAN_S + 99.0, 12.0, 101.0, 1_400.0),
    )

    found = result(recorded(), Ended(4.0), metrics)

    # Each one covers the time since the previous one, known or not.
    assert found.series.server_cpu == [0.5, None, 0.005, 0.005]
    assert found.series.server_memory_bytes == [110.0, 105.0, 101.0, 101.0]
    assert found.series.store_memory_bytes == [1_100.0, 1_300.0, 1_400.0, 1_400.0]
    server = found.server
    assert (server.memory_bytes_before, server.memory_bytes_after, server.memory_bytes_max) == (100, 101, 110)
    assert server.cpu_us_per_request == pytest.approx(2e6 / (5 + 5))
    assert server.store_bytes_per_purchase == pytest.approx(400 / 4)


def test_a_worker_that_began_anew_gives_no_negative_cpu() -> None:
    samples = [
        MetricsSample(BEGAN_S + number + 0.5, cpu, 1.0, 1.0) for number, cpu in enumerate((10.0, 2.0, 3.0))
    ]

    found = result(recorded(), metrics=Read(*samples))

    assert found.series.server_cpu == [None, 1.0, 1.0, None]
    assert found.server.cpu_us_per_request == pytest.approx(1e6 / (5 + 3))


def test_a_server_without_metrics_leaves_its_figures_unknown() -> None:
    found = result(recorded(), metrics=Read(*[MetricsSample(BEGAN_S, None, None, None)] * 2))

    assert set(found.server.model_dump().values()) == {None}


def test_a_run_without_purchases_has_figures_and_a_second_without_ends_no_latency() -> None:
    metrics = Read(MetricsSample(BEGAN_S, 1.0, 1.0, 1.0), MetricsSample(BEGAN_S + 1, 2.0, 1.0, 2.0))
    recorder = Recorder()
    recorder.end_second(0)
    recorder.purchase(0, "not_connected", None)
    recorder.request("start", 201, "requires_confirmation", 0.1)

    found = result(recorder, metrics=metrics)

    (purchases,) = (each for each in found.operations if each.name == PURCHASE)
    assert (purchases.count, purchases.per_s, purchases.latency) == (0, 0.0, None)
    assert found.server.store_bytes_per_purchase is None
    assert found.series.purchases_per_s == [0.0, 0.0]
    assert found.series.p95_ms == [None, pytest.approx(100.0, rel=0.001)]


def test_a_run_that_took_no_time_has_no_rates() -> None:
    recorder = Recorder()
    recorder.request("start", 201, "requires_confirmation", 0.1)
    recorder.end_of_time()

    found = result(recorder, Ended(0.0))

    assert [each.per_s for each in found.operations] == [0.0, 0.0]
    assert (found.series.at_s, found.generator.cpu) == ([0.0], 0.0)


def test_an_end_after_the_run_is_counted_and_does_not_raise_the_rate() -> None:
    recorder = recorded()
    for _ in range(100):
        recorder.request("start", 201, "requires_confirmation", 0.1)
        recorder.purchase(200, "succeeded", 5.0)

    found = {each.name: (each.count, each.per_s) for each in result(recorder).operations}

    assert found == {"start": (105, 2.5), PURCHASE: (104, 2.0)}


@pytest.mark.parametrize(
    ("cpu_s", "lag_s", "is_to_be_trusted"),
    [(1.8, 0.049, True), (1.9, 0.001, False), (0.1, 0.06, False)],
)
def test_a_generator_that_is_too_busy_is_not_to_be_trusted(
    cpu_s: float, lag_s: float, *, is_to_be_trusted: bool
) -> None:
    traffic = Ended()
    traffic.cpu_s = cpu_s
    traffic.lags.record(lag_s)

    generator = result(recorded(), traffic).generator

    assert generator.is_to_be_trusted is is_to_be_trusted
    assert generator.lag_p99_ms == pytest.approx(1000 * lag_s, rel=0.001)


def test_flows_are_counted_and_each_outcome_has_its_own_times() -> None:
    recorder, traffic = recorded(), Ended()
    recorder.purchase(503, "overloaded", 0.001)
    tally = FlowResult(name="pay", begun=9, ended=8, as_expected=5, turned_away=2)
    tally.surprises["200 failed instead of 200 succeeded"] += 1
    traffic.tallies = {pay: tally}

    found = result(recorder, traffic)

    (flow,) = found.stories
    assert (flow.name, flow.begun, flow.ended, flow.as_expected) == ("pay", 9, 8, 5)
    assert flow.surprises == {"200 failed instead of 200 succeeded": 1}
    assert (found.rejected, result(Recorder(), Ended()).rejected) == (0.25, 0.0)
    times = {each.code: each.latency.p99_ms for each in found.outcomes if each.latency}
    assert times == pytest.approx(
        {"requires_confirmation": 9_000.0, "succeeded": 200.0, "overloaded": 1.0}, rel=0.001
    )
    (purchase,) = (each for each in found.operations if each.name == PURCHASE)
    assert purchase.latency
    assert purchase.latency.p50_ms == pytest.approx(200.0, rel=0.001)
