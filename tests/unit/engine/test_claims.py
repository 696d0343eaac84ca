"""Claims of payments, messages and the relay: they are renewed for as long as a service needs."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.engine_setup import lax_settings, make_setup, wait_for
from support.fixtures.store_setup import Setup as Records
from support.fixtures.store_setup import client_of

from technopay.engine import Engine, OutgoingMessage, PaymentTerms, ScriptedSettlementService
from technopay.engine import runtime as runtime_module
from technopay.engine.claims import CLAIM_S
from technopay.storage import RedisStore

CLAIM_MS, RELAY_CLAIM_MS = 15_000, 4_000
STEP_MS = 1_500


async def test_services_that_need_longer_than_their_claims_are_called_once_beside_a_second_engine(
    fake_store: RedisStore, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Engines renew far more often than the clock of the store moves.
    monkeypatch.setattr(runtime_module, "RENEW_INTERVAL_S", 0.005)
    for kind in CLAIM_S:
        monkeypatch.setitem(CLAIM_S, kind, 0.015)
    fake_clock.set(datetime.now(UTC))
    go_on, calls = asyncio.Event(), Counter[str]()

    async def settle(_: PaymentTerms) -> str:
        calls["settle"] += 1
        await go_on.wait()
        return "settled"

    class Channel:
        async def deliver(self, message: OutgoingMessage) -> None:
            calls[message.user_id] += 1
            if message.user_id == "again" and calls["again"] == 1:
                raise ConnectionError("down")
            await go_on.wait()

    async def is_called(name: str, times: int = 1) -> bool:
        return calls[name] == times

    settings = lax_settings(
        settlement_timeout_s=60.0, message_timeout_s=60.0, message_backoff_s=0.01, agenda_interval_s=0.02
    )
    services: Any = {
        "settlement_service": ScriptedSettlementService(settle=[settle]), "channels": {"email": Channel()},
    }  # fmt: skip
    records = Records(fake_store)
    async with (
        Engine(fake_store, settings, **services) as one,
        Engine(fake_store, settings, **services) as other,
    ):
        again = await make_setup(one, fake_store, "again")
        await again.start()
        await wait_for(lambda: is_called("again"))
        slow = await make_setup(one, fake_store, "slow")

        async def is_retried() -> bool:
            fake_clock.advance(20)
            return await is_called("again", 2)

        await wait_for(is_retried)
        payment = await slow.start()
        await wait_for(lambda: is_called("slow"))
        await slow.confirm(payment, wait_s=0)
        await wait_for(lambda: is_called("settle"))
        [message] = [each for each in (await dump(fake_store))["agenda"] if each.startswith("msg_")]

        async def are_renewed() -> bool:
            due = [await records.due_at(each) or 0 for each in (payment.id, message)]
            relayed = await client_of(fake_store).hget(records.keys.key("relay"), "claimed_until")
            now_ms = fake_clock.now_ms
            return min(due) >= now_ms + CLAIM_MS and int(relayed) >= now_ms + RELAY_CLAIM_MS

        for _ in range(2 * CLAIM_MS // STEP_MS):
            fake_clock.advance(STEP_MS)
            await wait_for(are_renewed, within_s=20)
        go_on.set()

        async def has_ended() -> bool:
            paid = await one.find_payment(payment_id=payment.id)
            return paid.status == "succeeded" and calls["slow"] == 2

        await wait_for(has_ended)
        assert calls == {"again": 2, "slow": 2, "settle": 1}
        assert (await records.fields("payment", payment.id))["claim"] == "2", "one claim and its end"
        assert (one.statistics.claims_lost, other.statistics.claims_lost) == (0, 0)
