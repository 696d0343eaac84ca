"""Which counters a debit touches. A further limit is another rule: the scripts loop over them.

A rule counts the amounts of debits in minor units, for each currency apart.
"""

from dataclasses import dataclass
from typing import Literal

Window = Literal["day"]
"""The length of a period, after which counters start at 0; storage/business_days.py has its bounds."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A spending limit: whose debits share a counter, and for how long."""

    name: str
    scope: Literal["all_users", "user"]
    window: Window
    refusal: str = "daily_limit_exceeded"

    @property
    def fields(self) -> tuple[str, str, str]:
        """The fields of a payment for its counter: the period, the limit if there was one, the used amount."""
        return f"{self.name}_period", f"{self.name}_limit", f"{self.name}_used"


GLOBAL_DAY = LimitRule("global", scope="all_users", window="day")
LIMIT_RULES = (GLOBAL_DAY,)
