"""The schema of a store, and the earlier ones that can be migrated."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from technopay.engine.errors import StoreUnfit, StoreUninitialised
from technopay.engine.values import Position

SCHEMA = "7"
RAISED = "6"
"""The schema whose records are as they are now."""
MIGRATED = frozenset({"4", "5", RAISED})
MIGRATING = "migrating:"
"""The schema of a store during its migration: this prefix and the number of the step."""
INITIALISING = "initialising"
"""The schema of the first partition until all others are initialised."""
PARTITIONS_MAX = 256
LOST = "lost:"
"""The prefix of the fields of the meta record for lost entries; the value is the last entry kept before it."""


class Loss(NamedTuple):
    """An entry of the journal that an engine saw and that is missing, and the last one kept before it."""

    missing: Position
    kept: Position


def new_incarnation() -> str:
    return secrets.token_hex(8)


def is_migratable(meta: Mapping[str, str]) -> bool:
    """Whether the store needs a migration, or is in one."""
    schema = meta.get("schema", "")
    return schema in MIGRATED or schema.startswith(MIGRATING)


def is_raised(meta: Mapping[str, str]) -> bool:
    """Whether a migration only has to raise the schema."""
    return RAISED in (meta.get("schema"), meta.get("migrated_from"))


def next_incarnation(incarnation: str) -> str:
    """Return the incarnation that follows this one, always the same, so that a call can be repeated."""
    return hashlib.sha256(f"after {incarnation}".encode()).hexdigest()[: len(incarnation)]


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
    if schema == INITIALISING:
        raise StoreUninitialised("the store was not initialised to the end; run `technopay init` to go on")
    for name, ours in (("schema", SCHEMA), ("timezone", timezone)):
        if meta.get(name) != ours:
            raise StoreUnfit(f"the store has {name} {meta.get(name)}, this program {ours}")


def losses_of(meta: Mapping[str, str]) -> list[Loss]:
    """Return the losses that engines recorded, in the order of the journal."""
    return sorted(
        Loss(Position.of(name.removeprefix(LOST)), Position.of(kept))
        for name, kept in meta.items()
        if name.startswith(LOST)
    )


def require_whole(meta: Mapping[str, str]) -> None:
    """Raise StoreUnfit if an engine recorded a loss that no operator has accepted."""
    if losses := losses_of(meta):
        raise StoreUnfit(loss_message(losses[-1].missing))


def require_one_store(metas: Sequence[Mapping[str, str]], timezone: str) -> None:
    """Raise StoreUnfit unless the meta records of all partitions are of one whole store."""
    for number, meta in enumerate(metas):
        require_ours(meta, timezone)
        if meta.get("incarnation") != metas[0]["incarnation"]:
            raise StoreUnfit(f"partition {number:02x} of the store is of another one; restore it")
        require_whole(meta)


def loss_message(entry: Position | str) -> str:
    return (
        f"the store lost data: entry {entry} of its journal is missing; restore a newer copy, "
        "or accept the loss with `technopay accept-loss`"
    )
