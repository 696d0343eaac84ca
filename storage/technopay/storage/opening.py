"""Opens a store: initialises a new one, and removes the scripts of other versions."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from technopay.engine.errors import InternalError, StoreUnavailable, StoreUnfit
from technopay.storage.commands import (
    AcceptLoss,
    CountLiveCodes,
    FinishInitialise,
    ForgetLosses,
    Initialise,
    MarkDemo,
    ReadMeta,
)
from technopay.storage.partition import Partition, fetch
from technopay.storage.partitions import Partitions
from technopay.storage.schema import INITIALISING, LOST, SCHEMA, new_incarnation, next_incarnation
from technopay.storage.scripts.loader import LIBRARY_PREFIX, Library
from technopay.storage.server.client import Client

CODES_BATCH, CODES_READ_MAX = 2_000, 200_000
"""Members of the agenda that are read to count codes: by one script, and in all."""


NO_DEMO = (
    "this store is in use and was not made by --demo, which gives tokens for any user to anybody; "
    "leave --demo out, or use another store"
)


async def initialise(first: Partition, timezone: str, partitions: int) -> Mapping[str, str]:
    """Initialise a store that was never used, or go on with that; return its meta record.

    Raises:
        StoreUnfit: it has a journal already.

    """
    schema = SCHEMA if partitions == 1 else INITIALISING
    if partitions > 1 and not (await first.run(ReadMeta())).value:
        found = (await Partitions(first, partitions).run_each(ReadMeta()))[1:]
        if any(outcome.value for outcome in found):
            raise StoreUnfit(
                "the first partition has no meta record and others have one: it lost data; restore it"
            )
    meta = await _initialise(first, Initialise(new_incarnation(), schema, str(partitions), timezone))
    if meta.get("schema") != INITIALISING:
        return meta
    same = Initialise(meta["incarnation"], SCHEMA, meta["partitions"], meta["timezone"])
    for each in Partitions(first, int(meta["partitions"])):
        if each is not first and (await _initialise(each, same)).get("incarnation") != same.incarnation:
            raise StoreUnfit(f"partition {each.number:02x} is of another store")
    return (await first.run(FinishInitialise(SCHEMA))).value or {}


async def _initialise(partition: Partition, command: Initialise) -> Mapping[str, str]:
    outcome = await partition.run(command)
    if outcome.code == "in_use" and not outcome.value:
        raise StoreUnfit("the store holds a journal but no meta record: it lost data; restore it")
    return outcome.value or {}


async def guard(partitions: Partitions) -> list[Mapping[str, str]]:
    """Have every partition run scripts only in its store of now; return the meta records."""
    metas = [outcome.value or {} for outcome in await partitions.run_each(ReadMeta())]
    for each, meta in zip(partitions, metas, strict=True):
        each.guard(meta.get("incarnation"))
    return metas


async def accept_loss(partitions: Partitions, incarnation: str) -> bool:
    """Give a store that lost entries its next incarnation; return False if another one was there.

    Only then the losses are forgotten: a call that was broken off leaves the store closed, and can be repeated.
    So the next incarnation follows from this one, and the first partition, whose incarnation counts, is last.
    """
    following = next_incarnation(incarnation)
    for each in reversed(list(partitions)):
        each.guard(None)
        if (await each.run(AcceptLoss(incarnation, following))).code != "ok":
            return False
    await partitions.run_each(ForgetLosses(following))
    return True


async def require_empty(partition: Partition, servers: Sequence[Client]) -> None:
    """Raise StoreUnfit for a database with other data."""
    count = 0
    with suppress(InternalError, StoreUnavailable):  # the user may lack the right
        count = sum([int(await fetch(each, "DBSIZE")) for each in servers])
    if count and not await partition.fetch("EXISTS", partition.keys.journal):
        raise StoreUnfit(
            f"the database holds {count} keys that are not technopay's; use an empty one, like redis://host:6379/1"
        )


async def remove_earlier_scripts(server: Client, library: Library) -> None:
    """Remove the libraries of other versions. An engine that still uses one loads it again."""
    with suppress(InternalError, StoreUnavailable):  # the right may be missing
        found = await fetch(server, "FUNCTION", "LIST", "LIBRARYNAME", f"{LIBRARY_PREFIX}*")
        for each in found:
            name = str(dict(zip(each[::2], each[1::2], strict=False)).get("library_name"))
            if name != library.name:
                await fetch(server, "FUNCTION", "DELETE", name)


async def read_meta(partitions: Partitions) -> Mapping[str, str]:
    """Read the meta record, with the losses of all partitions; empty if the store was never initialised."""
    first, *others = [outcome.value or {} for outcome in await partitions.run_each(ReadMeta())]
    lost = {name: kept for meta in others for name, kept in meta.items() if name.startswith(LOST)}
    return {**lost, **first}


async def require_demo(first: Partition, meta: Mapping[str, str]) -> None:
    """Raise StoreUnfit if a store is in use, and no demo's, before its migration."""
    if "demo" not in meta and await first.fetch("EXISTS", first.keys.journal):
        raise StoreUnfit(NO_DEMO)


async def mark_demo(partitions: Partitions) -> bool:
    """Mark a new store as a demo's; return whether the demo data has to be added.

    Raises:
        StoreUnfit: the store is in use, and no demo's. Nothing was written.

    """
    first, *others = partitions
    used = await asyncio.gather(*(each.fetch("EXISTS", each.keys.journal) for each in others))
    if any(used) and "demo" not in ((await first.run(ReadMeta())).value or {}):
        raise StoreUnfit(NO_DEMO)
    code = (await first.run(MarkDemo("seeding"))).code
    if code == "in_use":
        raise StoreUnfit(NO_DEMO)
    return code == "ok"


async def count_live_codes(partitions: Partitions) -> tuple[Counter[str], bool]:
    """Count the codes that can still be used, by the id of their key; return whether these are all."""
    counts: Counter[str] = Counter()
    for offset in range(0, CODES_READ_MAX, CODES_BATCH):
        outcomes = await partitions.run_each(CountLiveCodes(offset, CODES_BATCH))
        for outcome in outcomes:
            counts.update({key_id: int(number) for key_id, number in (outcome.value or {}).items()})
        if all(outcome.code == "ok" for outcome in outcomes):
            return counts, True
    return counts, False
