"""A process that migrates a store, until it is killed at a point or to the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.processes.crash_client import ClientLog
from support.processes.killable_ports import Point, Points, make_killable

from technopay.storage import RedisStore, migration

SMALL = 50
"""Entries that are read at a time, so that every step has several batches."""


async def migrate_killably(job: Mapping[str, Any]) -> None:
    """Migrate as `technopay migrate` does, until the point at which the process dies."""
    migration.READ_MAX, migration.BATCH_MAX = SMALL, SMALL // 4
    deadly = Point(*job["point"]) if job["point"] else None
    points = Points(ClientLog(Path(job["log"])).write_point, deadly)
    store = RedisStore.connect(job["url"], namespace=job["namespace"], reply_timeout_s=job["reply_s"])
    store.migrates = True
    store._migration_wait_s = job["looks_s"] and job["looks_s"] + job["reply_s"]
    make_killable(store, points)
    async with store:
        pass
