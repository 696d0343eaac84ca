"""Prepares a store on a server before engines use it: `technopay init` and `technopay migrate`."""

from technopay.engine.errors import StoreUninitialised
from technopay.storage.options import REPLY_TIMEOUT_S
from technopay.storage.server.health import Durability
from technopay.storage.store import RedisStore


async def initialise_store(
    url: str, *, timezone: str, durability: Durability, may_be_new: bool = True, partitions: int | None = None
) -> bool:
    """Initialise a new store; return False, without a change, if it is initialised already.

    Raises:
        StoreUninitialised: it is new, and must not be.
        StoreUnfit: it has other data, or must not be used.
        StoreUnavailable: it cannot be reached.

    """
    try:
        async with RedisStore.connect(url, timezone=timezone, durability=durability):
            return False
    except StoreUninitialised:
        if not may_be_new:
            raise
    store = RedisStore.connect(
        url, initialise=True, timezone=timezone, durability=durability, partitions=partitions
    )
    async with store:
        return True


async def migrate_store(
    url: str,
    *,
    timezone: str = "UTC",
    namespace: str = "tp",
    durability: Durability = "always",
    reply_timeout_s: float = REPLY_TIMEOUT_S,
) -> bool:
    """Migrate a store on a server to the schema of this program; return False if it has that already.

    Engines of the earlier version close at their next health check. Their last calls end within their reply
    time-out: give the longest one.

    Raises:
        StoreUnfit: it has other data, or must not be used.
        StoreUnavailable: it cannot be reached.

    """
    store = RedisStore.connect(
        url,
        timezone=timezone,
        namespace=namespace,
        durability=durability,
        reply_timeout_s=reply_timeout_s,
    )
    store.migrates = True
    async with store:
        return store.was_migrated
