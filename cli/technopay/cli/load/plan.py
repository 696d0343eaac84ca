"""What is to be run, from what was asked for."""

from __future__ import annotations

import math
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
    for name, number in (("--duration", duration_s), ("--rate", rate_per_s)):
        if number is not None and not math.isfinite(number):
            raise UsageError(f"{name} has to be a number")
    address = _address(url)
    most = RATE_CONCURRENCY if rate_per_s else FIXED_CONCURRENCY
    if scenario is ScenarioName.HOT_WALLET:
        users, most = 1, HOT_CONCURRENCY
        if concurrency and concurrency > most:
            raise UsageError(f"--concurrency has to be at most {most} with hot-wallet: all are of one user")
    return Plan(
        url=address,
        scenario=scenario,
        duration_s=duration_s,
        users=users,
        concurrency=concurrency or most,
        rate_per_s=rate_per_s,
    )


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment or parts.username is not None:
        raise UsageError("--url has to be an address like http://127.0.0.1:8080")
    if parts.path not in ("", "/"):
        raise UsageError("--url has to be the address of a server, without a path")
    return f"{parts.scheme}://{parts.netloc}"
