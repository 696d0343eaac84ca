"""Scenarios: which stories are played, and how many of each."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from technopay.cli.load import stories
from technopay.cli.load.plan import ScenarioName
from technopay.cli.load.stories import Story


@dataclass(frozen=True, slots=True)
class Scenario:
    """A mixture of stories, of a hundred purchases so many each."""

    name: ScenarioName
    stories: Mapping[Story, int]
    tightens_limit: bool = False

    def deal(self, chance: random.Random) -> Story:
        """Answer the story of the next purchase."""
        return chance.choices(list(self.stories), list(self.stories.values()))[0]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            ScenarioName.MIXED,
            {
                stories.pay: 58,
                stories.wrong_code: 8,
                stories.confirm_twice: 6,
                stories.start_twice: 6,
                stories.too_poor: 5,
                stories.declined: 5,
                stories.blocked: 3,
                stories.expired: 3,
                stories.slow: 3,
                stories.lost: 3,
            },
        ),
        Scenario(ScenarioName.PLAIN, {stories.pay: 100}),
        Scenario(ScenarioName.HOT_WALLET, {stories.pay: 100}),
        Scenario(ScenarioName.LIMIT_RACE, {stories.pay_within_limit: 100}, tightens_limit=True),
        Scenario(ScenarioName.DUPLICATES, {stories.send_everything_twice: 100}),
    )
}
