"""The schema of a store, and the earlier ones that can be migrated."""

from collections.abc import Mapping

from technopay.engine.errors import StoreUnfit, StoreUninitialised

SCHEMA = "6"
MIGRATED = frozenset({"4", "5"})
MIGRATING = "migrating:"
"""The schema of a store during its migration: this prefix and the number of the step."""
PARTITIONS = "1"


def is_migratable(meta: Mapping[str, str]) -> bool:
    """Whether the store needs a migration, or is in one."""
    schema = meta.get("schema", "")
    return schema in MIGRATED or schema.startswith(MIGRATING)


def require_ours(meta: Mapping[str, str], timezone: str) -> None:
    """Raise StoreUnfit if a store was never initialised, lost its data, or has another schema or time zone."""
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
