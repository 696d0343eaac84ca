"""Whether a store may be used: durable, a writable primary, ours, and not one that lost its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from technopay.engine.errors import StoreUnfit, StoreUninitialised

Durability = Literal["always", "everysec", "unchecked"]

SCHEMA = "5"
SCHEMA_BEFORE = "4"
"""What is migrated when it is opened."""
PARTITIONS = "1"
REDIS_VERSION_MIN = (7, 0)


class StoreFull(StoreUnfit):
    """Raised when there is no memory for anything new. What was begun can be finished."""


def require_durable(info: Mapping[str, str], durability: Durability) -> None:
    """Refuse a server that could lose what it acknowledged, or forget what it must keep.

    Raises:
        StoreUnfit: says what is wrong, and how to overrule it.

    """
    if durability == "unchecked":
        return
    accepted = ("always",) if durability == "always" else ("always", "everysec")
    overrule = "; TECHNOPAY_DURABILITY=unchecked overrules this"
    if "appendonly" not in info:
        raise StoreUnfit(f"the store does not tell its configuration (CONFIG GET){overrule}")
    if info["appendonly"] != "yes":
        raise StoreUnfit(f"the store is not durable: appendonly is {info['appendonly']}, not yes{overrule}")
    if info["appendfsync"] not in accepted:
        raise StoreUnfit(
            f"the store can lose acknowledged payments: appendfsync is {info['appendfsync']}, not always; "
            f"TECHNOPAY_DURABILITY={info['appendfsync']} overrules this"
            if info["appendfsync"] == "everysec"
            else f"the store is not durable: appendfsync is {info['appendfsync']}, not always{overrule}"
        )
    if info["no-appendfsync-on-rewrite"] != "no":
        raise StoreUnfit(
            f"the store is not durable during rewrites: no-appendfsync-on-rewrite is yes{overrule}"
        )
    if info["maxmemory-policy"] != "noeviction":
        raise StoreUnfit(f"the store may forget: maxmemory-policy is {info['maxmemory-policy']}{overrule}")


def require_written(info: Mapping[str, str]) -> None:
    """Refuse a server that is configured to write its append-only file, but does not.

    Raises:
        StoreUnfit: says what is wrong.

    """
    if info.get("aof_enabled", "1") != "1":
        raise StoreUnfit(
            "the store does not write its append-only file (aof_enabled is 0), although it is set to"
        )
    if (status := info.get("aof_last_write_status", "ok")) != "ok":
        raise StoreUnfit(
            f"the store cannot write its append-only file (aof_last_write_status is {status}): look at its disk"
        )


def require_primary(info: Mapping[str, str]) -> None:
    """Refuse a replica, a cluster, and a server that is too old.

    Raises:
        StoreUnfit: says what is wrong.

    """
    if info["role"] != "master":
        raise StoreUnfit("the store is a replica; payments need the writable primary")
    if info["cluster_enabled"] != "0":
        raise StoreUnfit("the store is a cluster; use a single primary")
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < REDIS_VERSION_MIN:
        raise StoreUnfit(f"the store is version {info['redis_version']}; 7.0 or later is needed")


def require_ours(meta: Mapping[str, str], timezone: str) -> None:
    """Refuse a store that was never initialised or lost its data, or that is used in another way.

    Raises:
        StoreUnfit: says what is wrong.

    """
    if not meta:
        raise StoreUninitialised(
            "the store was never initialised, or it lost its data; "
            "if it is new, run `technopay init` or `serve --init`, else restore it"
        )
    for name, ours in (("schema", SCHEMA), ("partitions", PARTITIONS), ("timezone", timezone)):
        if meta.get(name) != ours:
            raise StoreUnfit(f"the store has {name} {meta.get(name)}, this program {ours}")
