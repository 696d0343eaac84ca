"""The product's own audit, as what every test ends with."""

from __future__ import annotations

from redis.asyncio import Redis

from technopay.engine.models import Audit
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys


async def assert_clean(store: RedisStore) -> Audit:
    """Check that a store's books balance; answer what was checked. It may be in use."""
    audit = await store.audit()
    assert audit.clean, "\n".join(map(str, audit.differences))
    return audit


async def assert_books_balance(url: str, namespace: str) -> Audit | None:
    """Check a namespace of a server; one that was never initialised has no books."""
    async with Redis.from_url(url, decode_responses=True) as client:
        timezone = await client.hget(Keys(namespace).key("meta"), "timezone")
    if not isinstance(timezone, str):
        return None
    store = RedisStore.connect(url, namespace=namespace, timezone=timezone, durability="unchecked")
    async with store:
        return await assert_clean(store)
