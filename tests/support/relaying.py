"""What tests do in place of the relay: read the journal on, and write down what became of its notices."""

from __future__ import annotations

from support.scene import Scene

from technopay.engine.ports import Outbox, UntoldNotice


async def read(scene: Scene, owner: str = "relay-a", count: int = 1_000) -> Outbox:
    """Claim the relay and read on; there has to be something."""
    outbox = await scene.store.read_outbox(owner, count)
    assert outbox is not None
    return outbox


async def relay(scene: Scene, *errors: str | None) -> list[str]:
    """Deliver what the journal has; answer the entries of the last notices, which have these errors or None."""
    outbox = await read(scene)
    told = outbox.notices[-len(errors) :]
    untold = [
        UntoldNotice(notice, "email", "waiting" if error else "stale", error)
        for notice, error in zip(told, errors, strict=True)
        if error is not None
    ]
    assert await scene.store.record_deliveries(outbox.claim, outbox.cursor, 0, untold)
    return [notice.entry_id for notice in told]


async def relay_anew(scene: Scene, *errors: str | None) -> list[str]:
    """Pass over what the journal has, start that many payments, and deliver their codes."""
    wallet = await scene.wallet()
    await relay_all(scene)
    for _ in errors:
        await scene.started(wallet, await scene.invoice())
    return await relay(scene, *errors)


async def relay_all(scene: Scene) -> None:
    outbox = await read(scene)
    assert await scene.store.record_deliveries(outbox.claim, outbox.cursor, 0, [])
