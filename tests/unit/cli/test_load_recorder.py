"""The records of a run: latencies and outcomes, by second."""

import pytest

from technopay.cli.load.recorder import Histogram, Recorder
from technopay.cli.load.result import PURCHASE, Latency


@pytest.mark.parametrize(
    ("count", "percents"),
    [(1, (1, 1, 1)), (2, (1, 2, 2)), (100, (50, 95, 99)), (101, (51, 96, 100)), (1000, (500, 950, 990))],
)
def test_a_percentile_is_the_nearest_rank_to_three_digits(count: int, percents: tuple[int, ...]) -> None:
    histogram = Histogram()
    for number in range(1, count + 1):
        histogram.record(number / 1000)
    found = histogram.latency()
    assert found
    expected = pytest.approx([*percents, count], rel=0.001)
    assert [found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms] == expected


def test_no_duration_is_lost_and_of_none_there_is_no_latency() -> None:
    histogram = Histogram()
    assert histogram.latency() is None
    for seconds in (-1.0, 0.0, 1e9):
        histogram.record(seconds)
    assert histogram.count == 3


def p50_ms(latency: Latency | None) -> float | None:
    return round(latency.p50_ms) if latency else None


def test_an_end_belongs_to_its_second() -> None:
    recorder = Recorder()
    recorder.request("start", 201, "requires_confirmation", 0.1)
    recorder.purchase(200, "succeeded", 0.5)
    recorder.end_second(under_way=3)
    recorder.request("start", 503, "overloaded", 0.2)
    recorder.request("start", 201, "requires_confirmation", 0.3)
    recorder.purchase(503, "overloaded", 0.2)

    first, second = recorder.seconds
    recorder.finish()
    assert (first.requests, first.purchases, first.under_way, p50_ms(first.latency)) == (1, 1, 3, 100)
    assert (second.requests, second.purchases, p50_ms(second.latency)) == (2, 0, 300)
    assert (first.outcomes, second.outcomes) == ({"succeeded": 1}, {"overloaded": 1})
    assert recorder.outcomes["start", 503, "overloaded"] == 1
    assert (recorder.requests, recorder.paid) == (3, 1)


def test_slow_operations_and_waits_are_not_in_the_series_of_percentiles() -> None:
    recorder = Recorder()
    recorder.request("wait", 200, "succeeded", 3.0)
    recorder.request("confirm_slow", 200, "succeeded", 4.0)
    recorder.purchase(200, "succeeded", None)
    recorder.wait("code", 0.3)

    recorder.finish()
    assert (recorder.seconds[0].requests, recorder.seconds[0].latency) == (2, None)
    assert (recorder.requests, recorder.paid) == (2, 1), "a wait is no request"
    times = [p50_ms(recorder.success_latency(each)) for each in ("wait", "confirm_slow", PURCHASE, "code")]
    assert times == [pytest.approx(3_000, rel=0.001), pytest.approx(4_000, rel=0.001), None, 300]


def test_latencies_are_of_successes() -> None:
    recorder = Recorder()
    for status, code in ((200, "succeeded"), (200, "failed"), (402, "insufficient_funds"), (503, "overloaded")):
        recorder.request("confirm", status, code, status / 1_000)
        recorder.purchase(status, code, status / 1_000)

    assert p50_ms(recorder.success_latency("confirm")) == 200
    assert p50_ms(recorder.success_latency(PURCHASE)) == 200, "money that came back was not paid"
    assert p50_ms(recorder.latencies[PURCHASE, 503, "overloaded"].latency()) == 503
    assert recorder.counts() == {"confirm": 4, PURCHASE: 1}
