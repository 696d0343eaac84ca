"""Services that need longer than a claim lasts: all is done once, and ends, beside a second process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.engine_setup import lax_settings, make_setup, wait_for
from support.fixtures.store_setup import Setup as StoreSetup

from technopay.engine import Engine, OutgoingMessage, PaymentTerms
from technopay.engine.claims import CLAIM_S
from technopay.engine.testing.mocks import MockSettlementService
from technopay.storage import RedisStore

TIMEOUT_S = 20.0
LONGER_S = CLAIM_S["payment"] + 2
RELAY_LONGER_S = CLAIM_S["relay"] + 2
ENDED_S_MAX = 60.0


class SlowBank(MockSettlementService):
    """Settles, and takes longer than a claim lasts."""

    def __init__(self, store: RedisStore) -> None:
        super().__init__(store)
        self.asked = 0

    async def settle(self, terms: PaymentTerms) -> Any:
        self.asked += 1
        await asyncio.sleep(LONGER_S)
        return await super().settle(terms)


class SlowChannel:
    """Takes longer than the relay's claim, and for what it refused at first longer than a message's claim."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.took: Counter[str] = Counter()

    async def deliver(self, message: OutgoingMessage) -> None:
        self.tried[message.user_id] += 1
        if message.user_id == "again" and self.tried["again"] == 1:
            raise ConnectionError("down")
        await asyncio.sleep(LONGER_S if message.user_id == "again" else RELAY_LONGER_S)
        self.took[message.user_id] += 1

    def has_tried(self, user_id: str, times: int) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            return self.tried[user_id] == times

        return look


@pytest.mark.timeout(120)
async def test_what_needs_longer_than_its_claim_is_done_once(server_url: str, namespace: str) -> None:
    settings = lax_settings(
        settlement_timeout_s=TIMEOUT_S,
        message_timeout_s=TIMEOUT_S,
        message_backoff_s=0.01,
        agenda_interval_s=0.05,
    )
    async with RedisStore.connect(server_url, namespace=namespace, initialise=True) as store:
        bank, channel = SlowBank(store), SlowChannel()
        services: Any = {"settlement_service": bank, "channels": {"email": channel}}
        async with Engine(store, settings, **services) as one, Engine(store, settings, **services) as other:
            again = await make_setup(one, store, "again")
            refused = await again.start()

            await wait_for(channel.has_tried("again", 2))
            slow = await make_setup(one, store, "slow")
            payment = await slow.start()
            await wait_for(channel.has_tried("slow", 1))
            await slow.confirm(payment, wait_s=0)

            async def ended() -> bool:
                paid = await one.find_payment(payment_id=payment.id)
                return paid.status == "succeeded" and channel.took["again"] == 1 and channel.took["slow"] == 2

            await wait_for(ended, within_s=ENDED_S_MAX)

            assert bank.asked == 1
            assert channel.tried == {"again": 2, "slow": 2}, "a code and a success, each once"
            setup = StoreSetup(store)
            assert (await setup.fields("payment", payment.id))["claim"] == "2", "one claim and its end"
            assert refused.status == "requires_confirmation"
            assert (one.statistics.claims_lost, other.statistics.claims_lost) == (0, 0)
        await assert_clean(store)
