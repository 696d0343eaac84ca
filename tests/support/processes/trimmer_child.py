"""A trimmer in a process that is killed at a point, or that kills the server of its store or archive there."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from support.fixtures.trimmed_store import KEEP_NOTHING, take_small_steps
from support.processes.crash_client import ClientLog
from support.processes.killable_ports import Point, Points, die, make_killable

from technopay.engine.errors import ArchiveUnavailable, OutcomeUnknown, StoreUnavailable
from technopay.engine.system import SystemClock
from technopay.storage import RedisStore
from technopay.storage.archive import postgresql, sqlite
from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import Change
from technopay.storage.archive.trimmer import Trimmer

GAVE_UP = 3
"""The status of a trimmer whose store or archive went away."""
TABLE = re.compile(r"^(\w+)\b.*?\b(?:FROM|INTO) (\w+)", re.DOTALL)


async def trim_killably(job: Mapping[str, Any]) -> None:
    """Trim the journals of a store once, until something dies."""
    take_small_steps(setattr)
    deadly = Point(*job["point"]) if job["point"] else None
    strike = partial(os.kill, *job["victim"]) if job["victim"] else die
    points = Points(ClientLog(Path(job["log"])).write_point, deadly, strike)
    store = RedisStore.connect(job["url"], namespace=job["namespace"])
    try:
        async with store, Archive.at(job["location"]) as archive:
            await archive.bind(await store.read_meta())
            make_killable(store, points)
            make_statements_killable(archive, points)
            make_transactions_killable(points)
            await Trimmer(list(store._partitions), archive, KEEP_NOTHING, SystemClock()).run()
    except (ArchiveUnavailable, OutcomeUnknown, StoreUnavailable) as error:
        print(error)  # noqa: T201
        raise SystemExit(GAVE_UP) from None


def make_statements_killable(archive: Archive, points: Points) -> None:
    """Make each read and each transaction a point, with the name of its table."""
    database: Any = archive.database
    write, fetch = database.write, database.fetch

    async def write_killably(changes: Sequence[Change]) -> bool:
        done: bool = await points.around(name_of(changes[0].statement), write(changes))
        return done

    async def fetch_killably(statement: str, *values: Any) -> Any:
        return await points.around(name_of(statement), fetch(statement, *values))

    database.write, database.fetch = write_killably, fetch_killably


def make_transactions_killable(points: Points) -> None:
    """Make it a point that a statement was run, and its transaction did not end."""
    to_file, to_server = sqlite._apply, postgresql._apply

    def apply_to_file(cursor: Any, change: Change) -> None:
        to_file(cursor, change)
        points.come_by(f"within {name_of(change.statement)}")

    async def apply_to_server(connection: Any, change: Change) -> bool:
        is_done = await to_server(connection, change)
        points.come_by(f"within {name_of(change.statement)}")
        return is_done

    sqlite._apply, postgresql._apply = apply_to_file, apply_to_server


def name_of(statement: str) -> str:
    """Return the verb and the table of a statement."""
    found = TABLE.match(statement)
    assert found, statement
    verb, table = found.groups()
    return f"{'count' if 'max(' in statement else verb.lower()} {table}"
