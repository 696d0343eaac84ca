"""The life of an engine, and the result of an outcome."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.doubles import held_commands, make_payment
from support.fixtures.engine_setup import make_setup, quick_settings, wait_for
from support.fixtures.store_setup import Setup as Records

from technopay.engine import (
    SILENCE,
    Engine,
    EngineClosed,
    FixedCode,
    InsufficientFunds,
    InternalError,
    Overloaded,
    RecordingChannel,
    ScriptedSettlementService,
    SequentialIds,
    Statistics,
    StoreUnfit,
)
from technopay.engine import runtime as runtime_module
from technopay.engine.commands import Command, TakeDue
from technopay.engine.ports import Outcome, OutgoingMessage
from technopay.engine.runtime import DUE_MAX, Runtime, unwrap
from technopay.engine.statistics import ScriptTime, UnreadableRecords
from technopay.engine.values import Claimed, ClaimedMessage, Due, Lease, Notification, PaymentTerms
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


async def test_an_engine_works_from_its_only_start_to_its_first_close(fake_store: RedisStore) -> None:
    tasks = asyncio.all_tasks()
    engine = Engine(fake_store, quick_settings())
    for operation in OPERATIONS:
        with pytest.raises(EngineClosed, match="was not started"):
            await operation(engine)

    async with engine:
        await (await make_setup(engine, fake_store)).pay()
        with pytest.raises(EngineClosed, match="is running and cannot be started"):
            await engine.start()
        assert asyncio.all_tasks() > tasks
    await engine.aclose()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == tasks
    await fake_store.ping()
    with pytest.raises(EngineClosed, match="is closed and cannot be started"):
        await engine.start()
    for operation in OPERATIONS:
        with pytest.raises(EngineClosed, match="is closed"):
            await operation(engine)


async def test_an_engine_that_never_started_can_be_closed_twice(fake_store: RedisStore) -> None:
    engine = Engine(fake_store, quick_settings())
    await engine.aclose()
    await engine.aclose()


async def test_an_engine_whose_start_failed_is_closed(fake_store: RedisStore) -> None:
    async with Engine(fake_store, quick_settings()):
        pass
    other = Engine(fake_store, quick_settings(secret="another secret, just as long as that"))

    with pytest.raises(StoreUnfit, match="another TECHNOPAY_SECRET"):
        await other.start()

    with pytest.raises(EngineClosed):
        await other.check()


async def test_commands_accepted_before_the_close_are_finished(fake_store: RedisStore) -> None:
    engine = Engine(fake_store, quick_settings(drain_s=10))
    await engine.start()
    alice = await make_setup(engine, fake_store)
    with held_commands(fake_store):
        deposits = [asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=1)) for _ in range(50)]
        await asyncio.sleep(0)

        close = asyncio.create_task(engine.aclose())
        await asyncio.sleep(0.1)
        assert not close.done()
    await asyncio.gather(close, *deposits)

    async with Engine(fake_store, quick_settings()) as after:
        assert (await after.find_wallet(wallet_id=alice.wallet_id)).balance == 10_050


async def test_a_settlement_that_ends_during_the_close_is_completed(fake_store: RedisStore) -> None:
    """Its completion is not a new command, which a draining engine refuses."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def settle(_: PaymentTerms) -> str:
        asked.set()
        await go_on.wait()
        return "settled"

    service = ScriptedSettlementService(settle=[settle])
    settings = quick_settings(settlement_timeout_s=5, drain_s=10)
    engine = Engine(fake_store, settings, settlement_service=service)
    await engine.start()
    alice = await make_setup(engine, fake_store)
    payment = await alice.confirm(await alice.start(), wait_s=0)
    await asked.wait()

    close = asyncio.create_task(engine.aclose())
    await asyncio.sleep(0.05)
    assert not close.done()
    go_on.set()
    await close

    async with Engine(fake_store, quick_settings()) as after:
        assert (await after.find_payment(payment_id=payment.id)).status == "succeeded"


@pytest.mark.parametrize(
    ("answer", "ending"), [("settled", "succeeded"), ("declined", "failed"), ("reversed", "refunded")]
)
async def test_a_settlement_is_completed_while_its_wallet_is_stuck(
    fake_store: RedisStore, fake_clock: FakeClock, answer: str, ending: str
) -> None:
    """Neither a full mailbox nor another holder of the lease delays it; the clock stands still, so it lasts."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def decide(*_: object) -> str:
        asked.set()
        await go_on.wait()
        return answer

    fake_clock.set(datetime.now(UTC))
    is_refund = answer == "reversed"
    service = ScriptedSettlementService(settle=["settled" if is_refund else decide], reverse=[decide])
    settings = quick_settings(mailbox_capacity=1, commands_waiting_max=2, settlement_timeout_s=5)
    async with Engine(fake_store, settings, settlement_service=service) as engine:
        alice = await make_setup(engine, fake_store)
        payment = await alice.confirm(await alice.start(), wait_s=4 if is_refund else 0)
        under_way: list[asyncio.Task[Any]] = []
        if is_refund:
            under_way.append(asyncio.create_task(engine.refund_payment(payment_id=payment.id)))
        await asked.wait()
        other = Lease("another engine", "", keep=True)
        assert (await Records(fake_store).deposit(alice.wallet_id, 1, other)).code == "ok"
        with held_commands(fake_store):
            deposits = [
                asyncio.create_task(engine.deposit(wallet_id=alice.wallet_id, amount=1)) for _ in range(2)
            ]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await engine.deposit(wallet_id=alice.wallet_id, amount=1)
            go_on.set()

            ended = await engine.get_payment(user_id="alice", payment_id=payment.id, wait_s=5)

            assert ended.status == ending
            assert not any(deposit.done() for deposit in deposits)
            assert (await Records(fake_store).deposit(alice.wallet_id, 1)).code == "busy"
        fake_clock.advance(1_000)
        await asyncio.gather(*deposits, *under_way)


async def test_a_channel_that_hangs_for_one_user_delays_no_payment_and_no_message_of_others(
    fake_store: RedisStore,
) -> None:
    class Picky(RecordingChannel):
        hanging = 0

        async def deliver(self, message: OutgoingMessage) -> None:
            if message.user_id == "alice":
                self.hanging += 1
                await asyncio.get_running_loop().create_future()
            await super().deliver(message)

    channel = Picky()
    settings = quick_settings(message_timeout_s=2.0)
    async with Engine(fake_store, settings, channels={"email": channel}) as engine:
        alice, bob = await make_setup(engine, fake_store), await make_setup(engine, fake_store, "bob")
        for number in range(1, 3):
            # A new message of hers hangs, and then one that is retried.
            assert (await alice.pay(await alice.invoice(1))).status == "succeeded"

            async def hangs(number: int = number) -> bool:
                return channel.hanging >= number

            await wait_for(hangs)
            paid = await bob.pay(await bob.invoice(1))

            async def is_delivered(payment_id: str = paid.id) -> bool:
                told = [(each.kind, each.payment_id) for each in channel.messages]
                return ("payment.succeeded", payment_id) in told

            await wait_for(is_delivered, within_s=settings.message_timeout_s + 1.9)


async def test_the_statistics_tell_what_is_going_on(fake_store: RedisStore) -> None:
    service = ScriptedSettlementService(settle=[SILENCE])
    settings = quick_settings(settlement_timeout_s=5, drain_s=0.01)
    async with Engine(fake_store, settings, settlement_service=service) as engine:
        assert replace(engine.statistics, script_times={}, mocks=()) == Statistics()
        assert engine.settings is settings
        alice = await make_setup(engine, fake_store)

        await alice.confirm(await alice.start(), wait_s=0)

        async def idle() -> bool:
            return replace(engine.statistics, script_times={}, mocks=()) == Statistics(settlements_in_flight=1)

        await wait_for(idle)
        times = engine.statistics.script_times
        assert times["confirm_payment"].calls == 1
        assert 0 < times["confirm_payment"].total_s < 10


async def test_a_run_with_counted_ids_and_a_fixed_code_can_be_repeated_exactly() -> None:
    async def run() -> list[str]:
        async with RedisStore.fake() as store:
            engine = Engine(store, quick_settings(), ids=SequentialIds(), verifier=FixedCode("4711"))
            async with engine:
                alice = await make_setup(engine, store)
                paid = await alice.confirm(await alice.start(), "4711")
                return [alice.wallet_id, paid.invoice_id, paid.id]

    assert await run() == await run()


async def test_what_was_learned_of_payments_is_bounded(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "ROUTES_MAX", 2)
    async with Engine(fake_store, quick_settings()) as engine:
        alice = await make_setup(engine, fake_store)
        payments = [await alice.start() for _ in range(4)]

        assert [*engine._runtime._routes] == [payment.id for payment in payments[2:]]
        assert (await alice.confirm(payments[0])).status == "succeeded", "what was forgotten is read again"


async def test_a_call_without_a_key_has_an_id_of_its_own(fake_store: RedisStore) -> None:
    one, other = (Engine(fake_store, quick_settings())._runtime for _ in range(2))
    named = [
        runtime.operation("deposit", ("wal_001",), None, ["the same"])
        for runtime in (one, other)
        for _ in range(100)
    ]

    assert len({operation.operation_id for operation in named}) == 200
    assert {re.sub(r"\.\d+$", "", operation.operation_id) for operation in named} == {
        one._call_prefix, other._call_prefix,
    }  # fmt: skip
    assert {len(runtime._call_prefix) for runtime in (one, other)} == {8}
    assert len({operation.fingerprint for operation in named}) == 1


async def test_the_id_of_a_call_with_a_key_depends_on_key_operation_user_and_subject(
    fake_store: RedisStore,
) -> None:
    one, other = (Engine(fake_store, quick_settings())._runtime for _ in range(2))
    same = {runtime.operation("resend", ("alice", "pay_001"), "key", []) for runtime in (one, other)}
    others = {
        one.operation("cancel", ("alice", "pay_001"), "key", []).operation_id,
        one.operation("resend", ("bob", "pay_001"), "key", []).operation_id,
        one.operation("resend", ("alice", "pay_002"), "key", []).operation_id,
        one.operation("resend", ("alice", "pay_001"), "another key", []).operation_id,
    }

    assert len(same) == 1
    assert len(others | {operation.operation_id for operation in same}) == 5


class DueStore:
    """The part of a store that the agenda needs."""

    partitions = (0,)
    script_times: ClassVar[dict[str, ScriptTime]] = {}
    unreadable = UnreadableRecords()

    def __init__(self, due: Due) -> None:
        self._due = due
        self.sent_at = 0.0

    async def run(self, command: Command[Any]) -> Outcome[Any]:
        assert command == TakeDue(0, DUE_MAX)
        self.sent_at = time.monotonic()
        return Outcome("ok", self._due)


@pytest.mark.parametrize(
    ("next_in_ms", "more"), [(None, False), (1, False), (5_000, False), (0, True), (-3, True)]
)
async def test_the_agenda_hands_out_what_is_due_and_returns_whether_there_is_more(
    monkeypatch: pytest.MonkeyPatch, next_in_ms: int | None, more: bool
) -> None:
    claimed = Claimed(make_payment(), "1")
    message = ClaimedMessage(Notification("1-0", "payment.succeeded", None, "", None), "sms", 1, "1")
    store: Any = DueStore(Due([claimed], [message], next_in_ms))
    runtime = Runtime(store, quick_settings(), None, None, None, None, None, None)
    taken: list[tuple[Any, ...]] = []
    monkeypatch.setattr(runtime.settlements, "begin", lambda *due: taken.append(due))
    monkeypatch.setattr(runtime._relay, "retry", lambda *due: taken.append(due))
    before = runtime.clock.monotonic()

    assert await runtime._take_due() == more

    [(*payment, since), (*retried, same)] = taken
    assert (payment, retried) == ([claimed], [0, message])
    assert before <= since == same <= store.sent_at, "a claim lasts since its script was sent"


@pytest.mark.parametrize(("rank", "is_noted"), [(0, True), (1, False), (2, False)])
async def test_only_the_owner_of_a_partition_takes_its_next_member_when_that_is_due(
    monkeypatch: pytest.MonkeyPatch, rank: int, is_noted: bool
) -> None:
    store: Any = DueStore(Due([], [], 5_000))
    store.partitions = (0, 1)
    runtime = Runtime(store, quick_settings(), None, None, None, None, None, None)
    runtime._agendas.note_due(0)
    monkeypatch.setattr(runtime._partition_owners, "rank", lambda partition: rank if partition == 0 else 2)
    monkeypatch.setattr(runtime._agendas, "_polled_at_s", {1: 1e12})

    assert not await runtime._take_due()
    assert (0 in runtime._agendas._due_at_s) == is_noted


def test_an_outcome_is_its_value_or_its_refusal() -> None:
    payment = make_payment()

    assert unwrap(Outcome("ok", payment)) is payment
    assert unwrap(Outcome("ok", payment, replayed=True)).replayed
    with pytest.raises(InsufficientFunds) as refused:
        unwrap(Outcome("insufficient_funds", payment, {"required": 2, "available": 1}))
    assert (refused.value.payment, refused.value.required, refused.value.available) == (payment, 2, 1)


@pytest.mark.parametrize("code", ["ok", "unheard_of", ""])
def test_an_outcome_without_a_meaning_is_a_defect(code: str) -> None:
    nonsense: Outcome[Any] = Outcome(code)

    with pytest.raises(InternalError):
        unwrap(nonsense)
