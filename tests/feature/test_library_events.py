"""Events through the library, on a store of several partitions."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from support.fixtures import placed_keys
from support.fixtures.engine_setup import lax_settings, make_setup
from support.fixtures.partitioned import USERS

from technopay.engine import Engine, Event, PaymentEvent
from technopay.storage import RedisStore


async def test_each_listener_reads_the_journal_of_its_own_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed_keys, "PARTITIONS", 4)
    async with (
        RedisStore.fake(partitions=4) as store,
        Engine(store, lax_settings()) as engine,
        AsyncExitStack() as streams,
    ):
        setups = [await make_setup(engine, store, user, email=f"{user}@example.com") for user in USERS]
        listeners = [await streams.enter_async_context(await engine.events(user_id=user)) for user in USERS]
        paid = await asyncio.gather(*(setup.pay() for setup in setups))

        async with asyncio.timeout(10):
            for listener, payment in zip(listeners, paid, strict=True):
                events = [await anext(listener)]
                while events[-1].type != "payment.succeeded":
                    events.append(await anext(listener))
                changes = payment_changes(events)
                assert {each.payment.id for each in changes} == {payment.id}
                assert [each.version for each in changes] == list(range(1, len(changes) + 1))


def payment_changes(events: Sequence[Event]) -> list[PaymentEvent]:
    return [each for each in events if isinstance(each, PaymentEvent)]


async def test_a_change_of_a_wallet_wakes_its_listeners(fake_store: RedisStore) -> None:
    async with Engine(fake_store, lax_settings(events_interval_s=3_600.0)) as engine:
        alice = await make_setup(engine, fake_store)
        async with await engine.events(user_id="alice") as events:
            for change, kind in ((engine.withdraw, "wallet.withdrawn"), (engine.adjust, "wallet.adjusted")):
                await change(wallet_id=alice.wallet_id, amount=1, note="counted again", by="root")
                assert (await asyncio.wait_for(anext(events), 10)).type == kind
