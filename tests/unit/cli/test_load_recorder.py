"""What a run writes down: latencies as they are, second by second."""

from __future__ import annotations

import pytest

from technopay.cli.load.recorder import PURCHASE, Recorder, percentile


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (1, 0.5, 1), (1, 0.99, 1), (2, 0.5, 1), (2, 0.51, 2), (2, 0.99, 2), (100, 0.5, 50), (100, 0.95, 95),
        (100, 0.99, 99), (101, 0.5, 51), (101, 0.95, 96), (101, 0.99, 100), (1000, 0.999, 999), (100, 1, 100),
    ],
)  # fmt: skip
def test_a_percentile_is_a_value_that_was_measured_by_nearest_rank(
    count: int, share: float, expected: int
) -> None:
    assert percentile([float(number) for number in range(1, count + 1)], share) == expected


def test_of_nothing_there_is_no_percentile() -> None:
    with pytest.raises(AssertionError):
        percentile([], 0.5)


def test_what_ends_belongs_to_the_second_in_which_it_ends() -> None:
    recorder = Recorder()
    recorder.request("start", 201, "requires_confirmation", 0.1)
    recorder.purchase(200, "succeeded", 0.5)
    recorder.next_second(under_way=3)
    recorder.request("start", 503, "overloaded", 0.2)
    recorder.request("start", 201, "requires_confirmation", 0.3)
    recorder.purchase(503, "overloaded", 0.2)

    first, second = recorder.seconds
    assert (first.requests, first.purchases, first.under_way, list(first.latencies_s)) == (1, 1, 3, [0.1])
    assert (second.requests, second.purchases, list(second.latencies_s)) == (2, 0, [0.3])
    assert (first.outcomes, second.outcomes) == ({"succeeded": 1}, {"overloaded": 1})
    assert recorder.outcomes["start", 503, "overloaded"] == 1
    assert (recorder.requests, recorder.paid) == (3, 1)


@pytest.mark.parametrize("operation", ["wait", "confirm_slow"])
def test_what_is_slow_on_purpose_is_counted_and_is_not_in_the_percentiles_over_time(operation: str) -> None:
    recorder = Recorder()
    recorder.request(operation, 200, "succeeded", 3.0)

    assert (recorder.seconds[0].requests, list(recorder.seconds[0].latencies_s)) == (1, [])
    assert recorder.successes_s(operation) == [3.0]


def test_a_purchase_that_is_slow_on_purpose_is_counted_without_its_latency() -> None:
    recorder = Recorder()
    recorder.purchase(200, "succeeded", None)

    assert (recorder.paid, recorder.successes_s(PURCHASE)) == (1, [])


def test_a_wait_that_is_no_request_is_not_counted_as_one() -> None:
    recorder = Recorder()
    recorder.waited("code", 0.3)

    assert (recorder.requests, recorder.successes_s("code")) == (0, [0.3])


def test_times_are_of_what_succeeded() -> None:
    recorder = Recorder()
    for status, code in ((200, "succeeded"), (200, "failed"), (402, "insufficient_funds"), (503, "overloaded")):
        recorder.request("confirm", status, code, status / 1_000)
        recorder.purchase(status, code, status / 1_000)

    assert recorder.successes_s("confirm") == [0.2, 0.2]
    assert recorder.successes_s(PURCHASE) == [0.2], "money that came back is none that was paid"
    assert list(recorder.latencies_s[PURCHASE, 503, "overloaded"]) == [0.503]
    assert recorder.counts() == {"confirm": 4, PURCHASE: 1}
