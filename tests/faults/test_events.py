"""Event streams survive an outage of the store without a gap."""

from contextlib import suppress
from typing import Any

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.gated import GatedWorld

from technopay.engine import Event, Fault, PaymentEvent, Subscription, WalletEvent


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Shorten the retries."""
    monkeypatch.setattr("technopay.storage.partition.RETRY_S_MAX", 0.5)
    monkeypatch.setattr("technopay.engine.actors.actor.RESEND_S_MAX", 0.5)
    return {"command_deadline_s": 0.5}


async def hear_until(events: Subscription, payment_id: str) -> list[Event]:
    """Receive events until a payment has succeeded."""
    heard: list[Event] = []
    async for event in events:
        heard.append(event)
        if event.type == "payment.succeeded" and event.payment.id == payment_id:
            return heard
    raise AssertionError("the stream ended")


async def test_a_stream_outlives_its_store_without_a_gap(world: GatedWorld) -> None:
    async with await world.engine.events(user_id="alice") as events:
        paid = [await world.setup.pay()]
        world.server.end()
        with pytest.raises(Fault):
            await world.setup.pay()
        with pytest.raises(Fault):
            await world.engine.events(user_id="alice")
        world.server.start()
        await wait_for(world.is_ready)
        with suppress(Fault):  # the first call may still be under way
            paid.append(await world.setup.pay())
        paid.append(await world.setup.pay())

        heard = await hear_until(events, paid[-1].id)

    versions: dict[str, list[int]] = {}
    for event in heard:
        assert not isinstance(event, WalletEvent)
        subject = event.payment if isinstance(event, PaymentEvent) else event.invoice
        versions.setdefault(subject.id, []).append(event.version)
    for payment in paid:
        assert versions[payment.id] == [1, 2, 3]
        assert versions[payment.invoice_id] == [1]
    ids = [event.id for event in heard]
    assert len(set(ids)) == len(ids)
    async with await world.engine.events(user_id="alice", after="evt_000-0") as events:
        assert [event.id for event in await hear_until(events, paid[-1].id)] == ids
