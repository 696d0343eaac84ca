"""Opens a store: initialises a new one, and removes the scripts of other versions."""

from collections.abc import Mapping
from contextlib import suppress

from technopay.engine.errors import InternalError, StoreUnavailable, StoreUnfit
from technopay.storage.commands import Initialise
from technopay.storage.partition import Partition
from technopay.storage.schema import PARTITIONS, SCHEMA, new_incarnation
from technopay.storage.scripts.loader import LIBRARY_PREFIX, Library


async def initialise(partition: Partition, timezone: str) -> Mapping[str, str]:
    """Initialise a store that was never used; return its meta record.

    Raises:
        StoreUnfit: it has a journal already.

    """
    outcome = await partition.run(Initialise(new_incarnation(), SCHEMA, PARTITIONS, timezone))
    if outcome.code == "in_use" and not outcome.value:
        raise StoreUnfit("the store holds a journal but no meta record: it lost data; restore it")
    return outcome.value or {}


async def require_empty(partition: Partition) -> None:
    """Raise StoreUnfit for a database with other data."""
    count = 0
    with suppress(InternalError, StoreUnavailable):  # the user may lack the right
        count = int(await partition.fetch("DBSIZE"))
    if count and not await partition.fetch("EXISTS", partition.keys.journal):
        raise StoreUnfit(
            f"the database holds {count} keys that are not technopay's; use an empty one, like redis://host:6379/1"
        )


async def remove_earlier_scripts(partition: Partition, library: Library) -> None:
    """Remove the libraries of other versions. An engine that still uses one loads it again."""
    with suppress(InternalError, StoreUnavailable):  # the right may be missing
        found = await partition.fetch("FUNCTION", "LIST", "LIBRARYNAME", f"{LIBRARY_PREFIX}*")
        for each in found:
            name = str(dict(zip(each[::2], each[1::2], strict=False)).get("library_name"))
            if name != library.name:
                await partition.fetch("FUNCTION", "DELETE", name)
