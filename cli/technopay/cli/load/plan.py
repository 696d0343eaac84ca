"""What is to be run, from what was asked for."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit

from technopay.cli.load.result import Plan
from technopay.cli.settings import UsageError

FIXED_CONCURRENCY = 32
RATE_CONCURRENCY = 1_000
HOT_CONCURRENCY = 48
"""A server takes 64 requests of one user at a time, and the user's inbox is read, too."""


class ScenarioName(StrEnum):
    """What can be chosen."""

    MIXED = "mixed"
    PLAIN = "plain"
    HOT_WALLET = "hot-wallet"
    LIMIT_RACE = "limit-race"
    DUPLICATES = "duplicates"


def make_plan(
    url: str,
    scenario: ScenarioName,
    duration_s: float,
    users: int,
    concurrency: int | None,
    rate_per_s: float | None,
) -> Plan:
    """Make a plan; what is not given is chosen.

    Raises:
        UsageError: names the argument and the rule.

    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError("--url has to be an address like http://127.0.0.1:8080")
    if parts.path not in ("", "/"):
        raise UsageError("--url has to be the address of a server, without a path")
    most = RATE_CONCURRENCY if rate_per_s else FIXED_CONCURRENCY
    if scenario is ScenarioName.HOT_WALLET:
        users, most = 1, HOT_CONCURRENCY
        if concurrency and concurrency > most:
            raise UsageError(f"--concurrency has to be at most {most} with hot-wallet: all are of one user")
    return Plan(
        url=url.rstrip("/"),
        scenario=scenario,
        duration_s=duration_s,
        users=users,
        concurrency=concurrency or most,
        rate_per_s=rate_per_s,
    )
