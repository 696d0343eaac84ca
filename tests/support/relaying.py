"""What tests do in place of the relay: read the journal on, and write down what became of its notices."""

from __future__ import annotations

from support.scene import Scene
from support.store import OutboxBatch, failed_delivery, read_outbox, record_deliveries


async def read(scene: Scene, owner: str = "relay-a", count: int = 1_000) -> OutboxBatch:
    """Claim the relay and read on; there has to be something."""
    outbox = await read_outbox(scene.store, owner, count)
    assert outbox is not None
    return outbox


async def relay(scene: Scene, *errors: str | None) -> list[str]:
    """Deliver what the journal has; answer the entries of the last notices, which have these errors or None."""
    outbox = await read(scene)
    notifications = outbox.notifications[-len(errors) :]
    failed = [
        failed_delivery(notification, "email", "waiting" if error else "stale", error)
        for notification, error in zip(notifications, errors, strict=True)
        if error is not None
    ]
    assert await record_deliveries(scene.store, outbox.claim, outbox.cursor, 0, failed)
    return [notification.entry_id for notification in notifications]


async def relay_anew(scene: Scene, *errors: str | None) -> list[str]:
    """Pass over what the journal has, start that many payments, and deliver their codes."""
    wallet = await scene.wallet()
    await relay_all(scene)
    for _ in errors:
        await scene.started(wallet, await scene.invoice())
    return await relay(scene, *errors)


async def relay_all(scene: Scene) -> None:
    outbox = await read(scene)
    assert await record_deliveries(scene.store, outbox.claim, outbox.cursor, 0, [])
