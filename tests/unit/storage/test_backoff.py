"""The delay before a restart of a process that ended."""

from technopay.storage.backoff import Backoff


def test_delays_get_longer_up_to_a_bound() -> None:
    backoff = Backoff(0.1, 0.5)
    assert [backoff.delay_s(0) for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_delays_begin_anew_after_a_process_that_stayed_up() -> None:
    backoff = Backoff(0.1, 0.5)
    assert [backoff.delay_s(lived_s) for lived_s in (0, 0, 0.4, 0.6, 0)] == [0.1, 0.2, 0.4, 0.1, 0.2]
