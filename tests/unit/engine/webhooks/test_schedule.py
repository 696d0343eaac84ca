"""The schedule of retries."""

from technopay.engine.webhooks.schedule import retry_ms

PLANNED_S = [1, 5, 30, 120, 600, 3_600, 10_800, 21_600, 21_600, 21_600]


def test_retries_come_on_the_schedule_within_a_fifth_of_it() -> None:
    for number, planned_s in enumerate(PLANNED_S, 1):
        delays = [retry_ms("whk_001", f"evt_00{event}-0", number) / 1000 for event in range(500)]
        assert 0.8 * planned_s <= min(delays) < 0.83 * planned_s
        assert 1.17 * planned_s < max(delays) <= 1.2 * planned_s


def test_a_delay_is_the_same_in_every_run() -> None:
    assert retry_ms("whk_001", "evt_001-0", 3) == retry_ms("whk_001", "evt_001-0", 3)
    assert retry_ms("whk_001", "evt_001-0", 3) != retry_ms("whk_002", "evt_001-0", 3)
