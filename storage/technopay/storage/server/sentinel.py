"""Asks Sentinels for the primary of a store, on every connect."""

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from technopay.engine.errors import Fault, StoreUnavailable
from technopay.storage.server.address import HostPort, StoreAddress, shown_address
from technopay.storage.server.connection import connect
from technopay.storage.server.reasons import meaning_of

TIMEOUT_S = 0.5
"""For each Sentinel: one that hangs must not keep the others from being asked."""


async def find_primary(address: StoreAddress) -> HostPort | None:
    """Return the primary that the first Sentinel in reach names; None for a store without Sentinels.

    Raises:
        StoreUnavailable: no Sentinel names one; the message has the reason of each.

    """
    if not address.sentinels:
        return None
    sign_in: ConnectionPool = ConnectionPool.from_url(address.sentinel_url)
    reasons = []
    for sentinel in address.sentinels:
        try:
            named = await _ask(sign_in, sentinel, address.primary_name)
        except (Fault, RedisError, OSError, TimeoutError) as error:
            reasons.append(f"{shown_address(*sentinel)}: {meaning_of(error)}")
            continue
        if named is not None:
            return named
        reasons.append(f"{shown_address(*sentinel)}: it does not know {address.primary_name}")
    raise StoreUnavailable(f"no Sentinel names the primary ({'; '.join(reasons)})")


async def _ask(sign_in: ConnectionPool, sentinel: HostPort, name: str) -> HostPort | None:
    connection = await connect(sign_in, TIMEOUT_S, at=sentinel)
    try:
        [reply] = await connection.request([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)])
    finally:
        connection.abort()
    if isinstance(reply, Exception):
        raise StoreUnavailable(str(reply)) from reply
    return (reply[0], int(reply[1])) if reply else None
