"""A store as schema 4 left it (`old_store.json`, made by `make_old_store.py`), for tests of what came later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.scenes import quick_settings

from technopay.engine import Engine
from technopay.storage import RedisStore

FILE = Path(__file__).with_name("old_store.json")
FAR_MS = 4_102_444_800_000
"""The year 2100."""


@dataclass(frozen=True, slots=True)
class OldStore:
    """Makes the store, unopened, and knows what is in it: `facts` by kind and name."""

    make: Callable[[], RedisStore]
    client: Any
    facts: dict[str, Any]

    def engine(self, store: RedisStore) -> Engine:
        """Make an engine with the secret that the store was used with."""
        return Engine(store, quick_settings(secret=self.facts["secret"]))

    def payment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["payments"][name]
        return found

    def invoice(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["invoices"][name]
        return found


async def load_old_store(client: Any, namespace: str = "tp") -> dict[str, Any]:
    """Fill a namespace of a server; answer the facts.

    Codes, invoices and idempotency records last for a hundred years, but for the code of 'expiring'. Dead
    messages are kept for 72 hours by a constant: here they are reaped in the year 2100.
    """
    content = json.loads(FILE.read_text())
    tag, dead = f"{{{namespace}:00}}", set()
    for name, key, *words in content["commands"]:
        if ":message:" in key and "dead" in words:
            dead.add(f"msg_{key.rpartition(':')[2]}")
        await client.execute_command(name, key.replace("{tp:00}", tag), *words)
    for message in dead:
        await client.zadd(f"{tag}:agenda", {message: FAR_MS})
    facts: dict[str, Any] = content["facts"]
    return facts
