"""Calls of the scripts of a migration, prepared; see support/calls.py."""

from __future__ import annotations

import json

from support.cases import Prepared, case
from support.scene import (
    DAY_MS,
    Scene,
    client_of,
    new_invoice,
)

from technopay.engine.models import from_ms
from technopay.storage.commands import (
    AdvanceMigration,
    BeginMigration,
    MigrateLimits,
    MigratePayments,
    MigrateReferences,
    ReadReferences,
)


@case
async def begin_migration(scene: Scene) -> Prepared:
    await client_of(scene.store).hset(scene.keys.key("meta"), "schema", "5")
    return BeginMigration("5", "0123456789abcdef")


@case
async def advance_migration(scene: Scene) -> Prepared:
    meta = {"schema": "migrating:1", "migration_position": "0-0"}
    await client_of(scene.store).hset(scene.keys.key("meta"), mapping=meta)
    return AdvanceMigration("migrating:1", "0-0", "migrating:2", "0-0")


@case
async def read_references(scene: Scene) -> Prepared:
    return ReadReferences([await scene.invoice()])


@case
async def migrate_references(scene: Scene) -> Prepared:
    return MigrateReferences(["4:Shope\u0301", "4:Shop\u00e9", await decomposed_invoice(scene), "\u00e9", "0"])


@case
async def migrate_payments(scene: Scene) -> Prepared:
    payment_id = await scene.started(await scene.wallet(), await scene.invoice())
    await as_in_schema_5(scene, payment_id)
    return MigratePayments([payment_id])


@case
async def migrate_limits(scene: Scene) -> Prepared:
    await scene.set_limit("EUR", 5_000)
    client, keys = client_of(scene.store), scene.keys
    await client.rename(keys.key("limit", "global:EUR"), keys.key("limit", "EUR"))
    await client.srem(keys.key("limits"), "global:EUR")
    await client.sadd(keys.key("limits"), "EUR")
    return MigrateLimits(["EUR"])


async def decomposed_invoice(scene: Scene) -> str:
    """Create an invoice whose reference is not in normal form."""
    expires_at = from_ms(await scene.now_ms() + DAY_MS)
    invoice = new_invoice("alice", 100, "EUR", expires_at, reference="e\u0301")
    assert (await scene.store.run(invoice)).code == "ok"
    return invoice.invoice_id


async def as_in_schema_5(scene: Scene, payment_id: str) -> None:
    """Write a payment that waits for its code as schema 5 did."""
    client, key, code_key = (
        client_of(scene.store), scene.keys.key("payment", payment_id), scene.keys.key("code", payment_id),
    )  # fmt: skip
    payment, code = await client.hgetall(key), json.loads(await client.get(code_key))
    names = ("method", "version", "attempts", "resends", "expires_at", "payable_until", "wrong_calls", "key")
    packed = " ".join(code.get(name, "") for name in names)
    await client.hset(key, mapping={"limit": payment["global_period"], "challenge": packed})
    await client.hdel(key, "version", "global_period")
    await client.delete(code_key)
