"""The life of an engine, and how an outcome becomes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.scenes import make_scene, quick_settings, wait_for
from support.stand_ins import make_payment

from technopay.engine import (
    SILENCE,
    Engine,
    EngineClosed,
    FixedCode,
    InsufficientFunds,
    InternalError,
    ScriptedSettlementService,
    SequentialIds,
    Statistics,
    StoreUnfit,
)
from technopay.engine import core as core_module
from technopay.engine.core import known, unwrap
from technopay.engine.ports import Outcome
from technopay.storage import RedisStore

OPERATIONS: list[Callable[[Engine], Awaitable[object]]] = [
    lambda engine: engine.start_payment(user_id="alice", invoice_id="inv_001", wallet_id="wal_001"),
    lambda engine: engine.confirm_payment(user_id="alice", payment_id="pay_001", code="1"),
    lambda engine: engine.resend_code(user_id="alice", payment_id="pay_001"),
    lambda engine: engine.cancel_payment(user_id="alice", payment_id="pay_001"),
    lambda engine: engine.get_payment(user_id="alice", payment_id="pay_001"),
    lambda engine: engine.get_wallet(user_id="alice", wallet_id="wal_001"),
    lambda engine: engine.list_payments(user_id="alice"),
    lambda engine: engine.list_limits(user_id="alice"),
    lambda engine: engine.create_user(user_id="alice"),
    lambda engine: engine.get_user(user_id="alice"),
    lambda engine: engine.deposit(wallet_id="wal_001", amount=1),
    lambda engine: engine.set_limit(currency="EUR", amount=1),
    lambda engine: engine.refund_payment(payment_id="pay_001"),
    lambda engine: engine.list_messages(),
    lambda engine: engine.check(),
]


async def test_nothing_can_be_asked_before_the_start(fake_store: RedisStore) -> None:
    engine = Engine(fake_store, quick_settings())

    for operation in OPERATIONS:
        with pytest.raises(EngineClosed, match="was not started"):
            await operation(engine)


async def test_nothing_can_be_asked_after_the_close(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        await engine.check()

    for operation in OPERATIONS:
        with pytest.raises(EngineClosed, match="is closed"):
            await operation(engine)


async def test_an_engine_is_started_once(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        with pytest.raises(EngineClosed, match="is running and cannot be started"):
            await engine.start()
    with pytest.raises(EngineClosed, match="is closed and cannot be started"):
        await engine.start()


async def test_an_engine_can_be_closed_twice_and_before_its_start(fake_store: RedisStore) -> None:
    unstarted = Engine(fake_store, quick_settings())
    await unstarted.aclose()
    await unstarted.aclose()

    engine = Engine(fake_store, quick_settings())
    await engine.start()
    await engine.aclose()
    await engine.aclose()


async def test_a_closed_engine_leaves_no_task_and_an_open_store(fake_store: RedisStore) -> None:
    tasks = asyncio.all_tasks()
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_scene(engine, fake_store)
        await alice.pay()
        assert asyncio.all_tasks() > tasks
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == tasks
    await fake_store.ping()


async def test_a_store_used_with_another_secret_is_unfit(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()):
        pass
    other = Engine(fake_store, quick_settings(secret="another secret, just as long as that"))

    with pytest.raises(StoreUnfit, match="another TECHNOPAY_SECRET"):
        await other.start()

    with pytest.raises(EngineClosed):
        await other.check()


async def test_two_engines_in_one_process_share_a_store(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as one, Engine(fake_store, quick_settings()) as other:
        alice = await make_scene(one, fake_store)
        payments = [await alice.start() for _ in range(4)]
        codes = [await alice.right_code(payment) for payment in payments]

        answers = await asyncio.gather(
            *(
                engine.confirm_payment(user_id="alice", payment_id=payment.id, code=code)
                for payment, code in zip(payments, codes, strict=True)
                for engine in (one, other)
            )
        )

        assert {answer.status for answer in answers} == {"succeeded"}
        assert [answer.replayed for answer in answers].count(False) == 4
        assert await alice.balance() == 0


async def test_two_engines_on_two_stores_know_nothing_of_each_other(fake_store: RedisStore) -> None:
    async with (
        RedisStore.fake() as other_store,
        Engine(fake_store, quick_settings()) as one,
        Engine(other_store, quick_settings(secret="another secret, just as long as that")) as other,
    ):
        await make_scene(one, fake_store)
        await make_scene(other, other_store)

        assert len((await other.list_wallets(user_id="alice")).data) == 1


async def test_commands_accepted_before_the_close_are_finished(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_scene(engine, fake_store)
        deposits = [asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=1)) for _ in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*deposits)

    async with Engine(fake_store, quick_settings()) as engine:
        assert (await engine.find_wallet(wallet_id=alice.wallet_id)).balance == 10_050


async def test_the_statistics_tell_what_is_going_on(fake_store: RedisStore) -> None:
    service = ScriptedSettlementService(settle=[SILENCE])
    settings = quick_settings(settlement_timeout_s=5, drain_s=0.01)
    async with Engine(fake_store, settings, settlement_service=service) as engine:
        assert engine.statistics == Statistics(0, 0, 0)
        assert engine.settings is settings
        alice = await make_scene(engine, fake_store)

        await alice.confirm(await alice.start(), wait_s=0)

        async def idle() -> bool:
            return engine.statistics == Statistics(0, 0, 1)

        await wait_for(idle)


async def test_a_run_with_counted_ids_and_a_fixed_code_can_be_repeated_exactly() -> None:
    async def run() -> list[str]:
        async with RedisStore.fake() as store:
            engine = Engine(store, quick_settings(), ids=SequentialIds(), verifier=FixedCode("4711"))
            async with engine:
                alice = await make_scene(engine, store)
                paid = await alice.confirm(await alice.start(), "4711")
                return [alice.wallet_id, paid.invoice_id, paid.id]

    assert await run() == await run()


async def test_what_was_learned_of_payments_is_bounded(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_module, "ROUTES_MAX", 2)
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_scene(engine, fake_store)
        payments = [await alice.start() for _ in range(4)]

        assert [*engine._routes] == [payment.id for payment in payments[2:]]
        assert (await alice.confirm(payments[0])).status == "succeeded", "what was forgotten is read again"


async def test_a_wait_leaves_nothing_behind(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_scene(engine, fake_store)
        payment = await alice.start()
        await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=0.01)

        assert engine._watchers == {}


def test_an_outcome_is_its_value_or_its_refusal() -> None:
    payment = make_payment()

    assert unwrap(Outcome("ok", payment)) is payment
    assert unwrap(Outcome("ok", payment, replayed=True)).replayed
    with pytest.raises(InsufficientFunds) as refused:
        unwrap(Outcome("insufficient_funds", payment, {"required": 2, "available": 1}))
    assert (refused.value.payment, refused.value.required, refused.value.available) == (payment, 2, 1)


@pytest.mark.parametrize("code", ["ok", "unheard_of", ""])
def test_an_outcome_that_makes_no_sense_is_a_defect(code: str) -> None:
    nonsense: Outcome[Any] = Outcome(code)

    with pytest.raises(InternalError):
        unwrap(nonsense)


@pytest.mark.parametrize("record_id", ["pay_00v", "wal_0", "inv_001-1", "msg_001-0"])
def test_an_id_that_can_be_ours_is_asked_for(record_id: str) -> None:
    assert known(record_id) == record_id


@pytest.mark.parametrize("record_id", ["", "x", "pay_", "pay_A", "pay_ z", "pay_0\n", "}:meta", "usr_0"])
def test_an_id_that_cannot_be_ours_is_unknown(record_id: str) -> None:
    assert known(record_id) == "unknown"
