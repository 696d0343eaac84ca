"""An archiver in a process that is killed: at a point, or some time after a write began."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.processes.crash_client import ClientLog
from support.processes.killable_ports import Point, Points, make_killable

from technopay.storage import RedisStore
from technopay.storage.archive import archiver
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import Change

SMALL = 6
"""Entries of one batch, so that there are several."""


async def archive_killably(job: Mapping[str, Any]) -> None:
    """Archive all that is in a store, until the process dies."""
    archiver.BATCH = SMALL
    deadly = Point(*job["point"]) if job["point"] else None
    points = Points(ClientLog(Path(job["log"])).write_point, deadly)
    store = RedisStore.connect(job["url"], namespace=job["namespace"])
    async with store, Archive.at(job["location"]) as archive:
        meta = await store.read_meta()
        await archive.bind(meta)
        make_killable(store, points)
        _make_killable(archive, points, job["after_ms"])
        await archiver.Archiver(list(store._partitions), meta, archive).run()


def _make_killable(archive: Archive, points: Points, after_ms: float | None) -> None:
    """Make transactions and reads points; or die so long after the second transaction began."""
    database: Any = archive.database
    write, fetch, written = database.write, database.fetch, 0

    async def write_killably(changes: Sequence[Change]) -> bool:
        nonlocal written
        written += 1
        if after_ms is not None and written == 2:
            threading.Timer(after_ms / 1_000, os.kill, (os.getpid(), signal.SIGKILL)).start()
        done: bool = await points.around("write", write(changes))
        return done

    async def fetch_killably(statement: str, *values: Any) -> Any:
        return await points.around("read", fetch(statement, *values))

    database.write, database.fetch = write_killably, fetch_killably
