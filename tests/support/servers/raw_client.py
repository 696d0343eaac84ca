"""Clients that bypass the store, of a server or a cluster."""

from typing import Any

from redis.asyncio import Redis, RedisCluster

CLUSTER = "redis+cluster://"


def raw_client(url: str) -> Any:
    """Return a client with the commands of redis-py."""
    decoded: dict[str, Any] = {"decode_responses": True, "encoding_errors": "replace"}
    if not url.startswith(CLUSTER):
        return Redis.from_url(url, **decoded)
    return RedisCluster.from_url(f"redis://{url.removeprefix(CLUSTER).partition(',')[0]}", **decoded)


async def flush(url: str) -> None:
    """Remove all keys of the database, or of the primaries of a cluster."""
    async with raw_client(url) as client:
        await (client.flushall(target_nodes="primaries") if url.startswith(CLUSTER) else client.flushdb())
