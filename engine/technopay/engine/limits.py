"""Which counters a debit touches. A further limit is a further rule: the scripts loop over them.

A rule counts the amounts of debits in minor units, for each currency apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Window = Literal["day"]
"""A period that counters begin anew with; storage/business_days.py knows its bounds."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A limit of spending: the debits of which users share a counter, and for how long."""

    name: str
    scope: Literal["all_users", "user"]
    window: Window
    refusal: str = "daily_limit_exceeded"

    @property
    def fields(self) -> tuple[str, str, str]:
        """What a payment keeps of its counter: the period, the limit if there was one, what was used."""
        return f"{self.name}_period", f"{self.name}_limit", f"{self.name}_used"


GLOBAL_DAY = LimitRule("global", scope="all_users", window="day")
LIMIT_RULES = (GLOBAL_DAY,)
