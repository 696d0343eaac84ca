"""What an engine is set to by the settings of a service."""

from __future__ import annotations

import pytest
from support.scenes import SECRET

from technopay.cli.service import engine_settings
from technopay.cli.settings import Settings


@pytest.mark.parametrize(
    ("limits", "demo", "expected"),
    [
        ({}, False, (5, 5, 10)),
        ({"codes_per_hour": 1, "confirms_per_minute": 2, "failures_per_day": 3}, False, (1, 2, 3)),
        ({"codes_per_hour": 0, "failures_per_day": 0}, False, (None, 5, None)),
        ({"codes_per_hour": 1, "confirms_per_minute": 2, "failures_per_day": 3}, True, (None, None, None)),
    ],
)
def test_the_limits_on_behaviour_are_those_that_are_set_and_none_in_a_demo(
    limits: dict[str, int], demo: bool, expected: tuple[int | None, ...]
) -> None:
    settings = Settings(code_lifetime_s=60).model_copy(update=limits)

    made = engine_settings(settings, SECRET, demo=demo)

    assert (made.codes_per_hour, made.confirms_per_minute, made.failures_per_day) == expected
    assert (made.secret, made.code_lifetime_s) == (SECRET, 60)
