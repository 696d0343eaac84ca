"""The form of a store that this program works with, and those that it can migrate."""

from __future__ import annotations

from collections.abc import Mapping

from technopay.engine.errors import StoreUnfit, StoreUninitialised

SCHEMA = "6"
MIGRATED = frozenset({"4", "5"})
MIGRATING = "migrating:"
"""While a store is migrated, its schema is this with the number of the step behind it."""
PARTITIONS = "1"


def is_migratable(meta: Mapping[str, str]) -> bool:
    """Whether a migration of the store has to begin or to go on."""
    schema = meta.get("schema", "")
    return schema in MIGRATED or schema.startswith(MIGRATING)


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
    schema = meta.get("schema", "")
    if schema.startswith(MIGRATING):
        raise StoreUnfit("the store is being migrated; if no `technopay migrate` runs, run it to go on")
    if schema in MIGRATED:
        raise StoreUnfit(f"the store has schema {schema}, this program {SCHEMA}: run `technopay migrate`")
    for name, ours in (("schema", SCHEMA), ("partitions", PARTITIONS), ("timezone", timezone)):
        if meta.get(name) != ours:
            raise StoreUnfit(f"the store has {name} {meta.get(name)}, this program {ours}")
