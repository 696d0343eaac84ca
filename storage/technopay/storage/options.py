"""The options of a store, and their bounds."""

import re

from technopay.engine.operation import require_type
from technopay.storage.schema import PARTITIONS_MAX
from technopay.storage.server.health import Durability

REPLY_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S_MAX = 3600.0
WAIT_MS, WAIT_MS_MAX = 500, 10_000
NAMESPACE = re.compile("[A-Za-z0-9._-]{1,64}")


def check_options(
    *,
    timezone: str,
    namespace: str,
    durability: Durability,
    reply_timeout_s: float,
    initialise: bool,
    wait_replicas: int,
    wait_ms: int,
    partitions: int,
) -> None:
    """Raise TypeError or ValueError for an option that is wrong; the message names it and the rule."""
    require_type("timezone", timezone, str)
    require_type("namespace", namespace, str)
    require_type("durability", durability, Durability)
    require_type("reply_timeout_s", reply_timeout_s, float)
    require_type("initialise", initialise, bool)
    require_type("wait_replicas", wait_replicas, int)
    require_type("wait_ms", wait_ms, int)
    if not NAMESPACE.fullmatch(namespace):
        raise ValueError("namespace has to be 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if not 0 < reply_timeout_s <= REPLY_TIMEOUT_S_MAX:
        raise ValueError(f"reply_timeout_s has to be more than 0, and at most {REPLY_TIMEOUT_S_MAX}")
    if wait_replicas < 0:
        raise ValueError("wait_replicas has to be 0 or more")
    require_type("partitions", partitions, int)
    if not 1 <= partitions <= PARTITIONS_MAX:
        raise ValueError(f"partitions has to be from 1 to {PARTITIONS_MAX}")
    if not 0 < wait_ms <= WAIT_MS_MAX:
        raise ValueError(f"wait_ms has to be from 1 to {WAIT_MS_MAX}")
