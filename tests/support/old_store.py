"""Stores as schema 4 and 5 left them (`old_store_<schema>.json`, made by `make_old_store.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.scenes import quick_settings

from technopay.engine import Engine
from technopay.storage import RedisStore

ENDED = frozenset({"canceled", "expired", "too_many_attempts"})
FAR_MS = 4_102_444_800_000
"""The year 2100."""


@dataclass(frozen=True, slots=True)
class OldStore:
    """Makes the store, unopened, and knows what is in it: `facts` by kind and name."""

    make: Callable[[], RedisStore]
    client: Any
    facts: dict[str, Any]

    def engine(self, store: RedisStore, **services: Any) -> Engine:
        """Make an engine with the secret that the store was used with."""
        return Engine(store, quick_settings(secret=self.facts["secret"]), **services)

    def payment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["payments"][name]
        return found

    def invoice(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["invoices"][name]
        return found


async def load_old_store(client: Any, namespace: str = "tp", schema: str = "4") -> dict[str, Any]:
    """Fill a namespace of a server; return the facts.

    Codes, invoices and idempotency records last for a hundred years, but for the code of 'expiring'. Dead
    messages and payments without money are kept for a constant time: here they are reaped in the year 2100.
    """
    content = json.loads(Path(__file__).with_name(f"old_store_{schema}.json").read_text())
    tag, ended = f"{{{namespace}:00}}", set()
    for name, key, *words in content["commands"]:
        kind, _, record_id = key.removeprefix("{tp:00}:").partition(":")
        if kind == "message" and "dead" in words:
            ended.add(f"msg_{record_id}")
        elif kind == "payment" and ENDED.intersection(words):
            ended.add(record_id)
        await client.execute_command(name, key.replace("{tp:00}", tag), *words)
    for member in ended:
        await client.zadd(f"{tag}:agenda", {member: FAR_MS}, xx=True)
    facts: dict[str, Any] = content["facts"]
    return facts
