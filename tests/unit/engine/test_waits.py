"""Waits until a payment is at rest."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.fixtures.doubles import make_payment
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for

from technopay.engine import (
    SILENCE,
    Engine,
    Payment,
    ScriptedSettlementService,
    StoreUnavailable,
)
from technopay.engine.commands import Command
from technopay.engine.events import waiters as waiters_module
from technopay.engine.ports import Outcome
from technopay.engine.reads import ReadPayment
from technopay.storage import RedisStore


def watched_by(engine: Engine, payment: Payment, count: int) -> Callable[[], Awaitable[bool]]:
    """Return a check that a number of calls wait for a change of a payment."""

    async def look() -> bool:
        return engine._runtime.waiters.count(payment.id) == count

    return look


async def test_a_wait_ends_with_the_change_that_this_process_makes(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters_module, "WAIT_INTERVAL_S", 60)
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_setup(engine, fake_store)
        payment = await alice.start()
        waits = [
            asyncio.create_task(engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=10))
            for _ in range(3)
        ]
        await wait_for(watched_by(engine, payment, 3))

        async with asyncio.timeout(5):
            await engine.cancel_payment(user_id="alice", payment_id=payment.id)
            seen = await asyncio.gather(*waits)

        assert [each.status for each in seen] == ["canceled"] * 3


async def test_a_wait_returns_the_payment_without_the_replayed_flag_of_another_call(
    fake_store: RedisStore,
) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        waiting = asyncio.create_task(engine.wait_for_rest(make_payment(), 5))
        await asyncio.sleep(0)

        engine._runtime.following()(Outcome("ok", make_payment(status="succeeded"), replayed=True))

        seen = await waiting
        assert (seen.status, seen.replayed) == ("succeeded", False)


async def test_a_wait_that_is_over_or_given_up_leaves_nothing_behind(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_setup(engine, fake_store)
        payment = await alice.start()
        waits = [
            asyncio.create_task(engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=10))
            for _ in range(2)
        ]
        await wait_for(watched_by(engine, payment, 2))

        waits[0].cancel()
        await asyncio.wait(waits[:1])
        assert engine._runtime.waiters.count(payment.id) == 1, "the other one goes on waiting"
        waits[1].cancel()
        await asyncio.wait(waits[1:])

        assert engine._runtime.waiters.count(payment.id) == 0
        await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=0.01)
        assert engine._runtime.waiters.count(payment.id) == 0


async def test_an_acknowledged_confirm_stays_acknowledged_while_the_store_cannot_be_read(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_away(command: Command[Any]) -> Outcome[Any]:
        if isinstance(command, ReadPayment):
            raise StoreUnavailable
        return await run(command)

    run = fake_store.run
    service = ScriptedSettlementService(settle=[SILENCE])
    settings = quick_settings(settlement_timeout_s=5, drain_s=0.01)
    monkeypatch.setattr(waiters_module, "WAIT_INTERVAL_S", 0.01)
    async with Engine(fake_store, settings, settlement_service=service) as engine:
        alice = await make_setup(engine, fake_store)
        payment = await alice.start()
        with monkeypatch.context() as away:
            away.setattr(fake_store, "run", be_away)

            assert (await alice.confirm(payment, wait_s=0.1)).status == "processing"
