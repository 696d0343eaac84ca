"""Processes that are killed at a point, or run to their end and record the points: flows and migrations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.processes.crash_client import ClientLog, CrashClient, Memory
from support.processes.crash_flows import REPLY_S_MAX, STORIES
from support.processes.killable_ports import (
    KillableChannel,
    KillableClock,
    KillableSettlementService,
    Point,
    Points,
    make_killable,
)
from support.servers.services_stub import open_service

from technopay.engine import Engine, MockChannel
from technopay.storage import RedisStore, migration


async def live(job: Mapping[str, Any]) -> None:
    """Run until the point at which the process dies."""
    story, log = STORIES[job["story"]], ClientLog(Path(job["log"]))
    deadly = Point(*job["point"]) if job["point"] else None
    points = Points(log.write_point, deadly)
    store = RedisStore.connect(
        job["url"], initialise=True, namespace=job["namespace"], reply_timeout_s=REPLY_S_MAX
    )
    make_killable(store, points)
    channel = KillableChannel(MockChannel(store), points, story.deaf_to)
    services_url = job["services_url"]
    async with (
        store,
        open_service(store, services_url) as service,
        Engine(
            store,
            story.settings_of_child(over_http=services_url is not None),
            settlement_service=KillableSettlementService(service, points),
            channels={"email": channel, "sms": channel},
            clock=KillableClock(points),
        ) as engine,
    ):
        client = CrashClient(engine, store, Memory(None), log.write, lambda: points.open_questions == 0)
        await story.tell(client)
        await client.calm()


SMALL = 50
"""Entries of one batch, so that every step has several batches."""


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
