"""Event streams survive an outage of the store without a gap."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.all_events import assert_whole, read_to_end
from support.fixtures.engine_setup import TOKEN_KEY, derive_code, lax_settings, wait_for
from support.fixtures.gated import GatedWorld
from support.processes.killable_server import KillableServer
from support.processes.preforked import running_preforked

from technopay.engine import Event, Fault, PaymentEvent, Subscription, WalletEvent
from technopay.http.auth.tokens import TokenSigner
from technopay.http.client import Client, RetryPolicy


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


KILLS = 3


async def pay(client: Client, wallet_id: str) -> list[str]:
    """Make a purchase; return the ids of its payment and invoice."""
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    invoice = await client.create_invoice(
        user_id="op", amount=100, currency="EUR", merchant="shop", expires_at=expires_at
    )
    payment = await client.start_payment(invoice_id=invoice.id, wallet_id=wallet_id)
    code = await derive_code(lax_settings(), payment)
    payment = await client.confirm_payment(payment_id=payment.id, code=code, wait_s=10)
    if payment.status == "processing":  # its server was killed, and the claim lasts for 15 s
        payment = await client.get_payment(payment_id=payment.id, wait_s=10)
    assert payment.status == "succeeded"
    return [payment.id, invoice.id]


async def test_the_events_of_all_users_outlive_the_kill_of_their_server(tmp_path: Path) -> None:
    token = TokenSigner(TOKEN_KEY).sign("op", admin=True, lifetime_s=3_600)
    patient = RetryPolicy(retries=500, deadline_s=60, backoff_max_s=0.2)
    async with running_preforked("serve") as preforked:
        server = KillableServer(preforked, tmp_path / "server", "--data-dir", str(tmp_path / "data"))
        await server.start()
        try:
            async with Client(server.url, token, retry_policy=patient) as client:
                await client.create_user(user_id="op", email="op@example.com")
                wallet = await client.create_wallet(user_id="op", currency="EUR")
                await client.deposit(wallet_id=wallet.id, amount=10_000)
                events, heard = client.all_events(), list[Event]()

                async def hear() -> None:
                    async for event in events:
                        heard.append(event)

                hearing = asyncio.create_task(hear())

                async def has_begun() -> bool:
                    return events.cursor is not None

                await wait_for(has_begun)
                ids = await pay(client, wallet.id)
                for _ in range(KILLS):
                    paying = asyncio.create_task(pay(client, wallet.id))
                    before = len(heard)

                    async def has_some(before: int = before) -> bool:
                        return len(heard) > before

                    await wait_for(has_some)
                    await server.kill()
                    await server.start()
                    ids += await paying
                ids += await pay(client, wallet.id)

                async def has_last() -> bool:
                    return any(each.type == "payment.succeeded" and ids[-2] in str(each) for each in heard)

                await wait_for(has_last)
                hearing.cancel()
                listed, _ = await read_to_end(client.list_events, limit=7)
        finally:
            await server.end()
    assert_whole(listed, ids)
    assert_whole({event.id: event for event in heard}.values(), ids)
    assert {event.id for event in heard} == {event.id for event in listed}
