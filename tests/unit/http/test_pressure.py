"""How many requests may be under way, by how late the loop is."""

from __future__ import annotations

from technopay.http.pressure import LATE_S, LEAST, Pressure


def test_a_loop_in_time_lets_in_as_many_as_are_bounded() -> None:
    pressure = Pressure(1_000)
    for running in (0, 500, 1_000):
        pressure.feel(LATE_S, running)
        assert pressure.allowed == 1_000


def test_a_late_loop_lets_in_a_tenth_less_than_there_are_and_never_less_than_the_least() -> None:
    pressure = Pressure(1_000)
    pressure.feel(2 * LATE_S, 600)
    assert pressure.allowed == 540
    pressure.feel(2 * LATE_S, 600)
    assert pressure.allowed == 486
    for _ in range(50):
        pressure.feel(60.0, pressure.allowed)
    assert pressure.allowed == LEAST


def test_a_loop_that_is_in_time_again_lets_in_more_step_by_step() -> None:
    pressure = Pressure(1_000)
    pressure.feel(2 * LATE_S, 300)
    assert pressure.allowed == 270
    pressure.feel(0.0, 270)
    assert pressure.allowed == 320
    for _ in range(20):
        pressure.feel(0.0, 270)
    assert pressure.allowed == 1_000


def test_a_small_bound_is_kept_to() -> None:
    pressure = Pressure(3)
    pressure.feel(60.0, 3)
    assert pressure.allowed == 3
