"""Changing the secret of a store in use, engine by engine; the second step in another process."""

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from support.fixtures.engine_setup import (
    SECRET,
    Setup,
    derive_code,
    make_setup,
    other_than,
    quick_settings,
    wait_for,
)

from technopay.engine import (
    ConfirmationInvalid,
    Engine,
    FixedCode,
    Payment,
    PaymentNotConfirmable,
    PaymentTerms,
    StoreUnavailable,
    StoreUnfit,
    read_mock_inbox,
)
from technopay.storage import RedisStore

NEXT = "the next secret, for tests and for tests alone"
OLD, ANNOUNCED = quick_settings(), quick_settings(previous_secrets=(NEXT,))
ROTATED, DROPPED = quick_settings(secret=NEXT, previous_secrets=(SECRET,)), quick_settings(secret=NEXT)
QUIET: dict[str, Any] = {"agenda_interval_s": 3_600}


def code_by(secret: str, payment: Payment, version: int = 1) -> Any:
    return derive_code(quick_settings(secret=secret), payment, version)


def seen_by(engine: Engine, setup: Setup) -> Setup:
    return replace(setup, engine=engine)


async def test_engines_with_the_next_secret_come_one_by_one(store: RedisStore) -> None:
    """At each step the engines of two steps are side by side, and each accepts the codes of the other."""
    steps = [OLD, ANNOUNCED, ROTATED, DROPPED]
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(Engine(store, OLD))
        alice = await make_setup(one, store, balance=100_000)
        for settings in steps[1:]:
            other = await stack.enter_async_context(Engine(store, settings))
            for here, there in ((one, other), (other, one)):
                payment = await seen_by(here, alice).start()
                code = await code_by(here.settings.secret, payment)
                assert (await seen_by(there, alice).confirm(payment, code)).status == "succeeded"
                assert (await seen_by(here, alice).confirm(payment, code)).replayed
            one = other


async def test_an_engine_without_the_key_of_a_challenge_judges_and_counts_nothing(store: RedisStore) -> None:
    async with Engine(store, ANNOUNCED) as old, Engine(store, DROPPED) as new:
        alice = await make_setup(old, store)
        payment = await alice.start()
        code = await code_by(SECRET, payment)

        for given in (code, other_than(code)):
            with pytest.raises(StoreUnavailable, match="secret") as refused:
                await seen_by(new, alice).confirm(payment, given)
            assert refused.value.retryable
        with pytest.raises(StoreUnavailable, match="secret"):
            await new.resend_code(user_id="alice", payment_id=payment.id)
        assert (await alice.payment(payment)).confirmation == payment.confirmation

        assert (await alice.confirm(payment, code)).status == "succeeded"


async def test_a_code_that_only_another_engine_can_derive_is_left_to_it(store: RedisStore) -> None:
    async with Engine(store, ANNOUNCED) as old:
        alice = await make_setup(old, store)
    async with Engine(store, DROPPED) as new:
        # The only engine is one without the key: it relays, and does not take the message.
        late = Engine(store, replace(ANNOUNCED, **QUIET))
        async with late:
            payment = await seen_by(late, alice).start()
            await late._runtime.relay.stop(1)

            async def left() -> bool:
                messages = (await new.list_messages(user_id="alice")).data
                return [(each.status, each.attempts) for each in messages] == [("waiting", 0)]

            await wait_for(left)
    async with Engine(store, ROTATED) as knows:
        alice = seen_by(knows, alice)
        assert await alice.code_from_inbox(payment) == await code_by(SECRET, payment)


async def test_a_secret_that_nobody_announced_is_refused(store: RedisStore) -> None:
    async with Engine(store, OLD):
        pass
    with pytest.raises(StoreUnfit, match="TECHNOPAY_SECRET_PREVIOUS"):
        await Engine(store, DROPPED).start()
    async with Engine(store, ROTATED):
        pass
    async with Engine(store, DROPPED):
        pass


async def test_a_replay_is_known_after_the_rotation(store: RedisStore) -> None:
    async with Engine(store, OLD) as old:
        alice = await make_setup(old, store)
        payment = await alice.pay()
        code = await alice.right_code(payment)
    async with Engine(store, ROTATED) as new:
        alice = seen_by(new, alice)
        assert (await alice.confirm(payment, code)).replayed
        with pytest.raises(PaymentNotConfirmable):
            await alice.confirm(payment, other_than(code))
    async with Engine(store, DROPPED) as newest:
        # A final payment does not need the removed secret.
        with pytest.raises(PaymentNotConfirmable) as refused:
            await seen_by(newest, alice).confirm(payment, code)
        assert refused.value.payment is not None
        assert refused.value.payment.status == "succeeded"


async def test_a_resend_keeps_the_key_of_its_challenge(store: RedisStore) -> None:
    async with Engine(store, ANNOUNCED) as old, Engine(store, ROTATED) as new:
        alice = await make_setup(old, store)
        payment = await alice.start()
        await new.resend_code(user_id="alice", payment_id=payment.id)
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(payment, await code_by(NEXT, payment, 2))
        assert (await alice.confirm(payment, await code_by(SECRET, payment, 2))).status == "succeeded"


class OneTime(FixedCode):
    """A verifier that accepts each code once."""

    def __init__(self) -> None:
        super().__init__("4711")
        self.asked: list[str] = []

    async def check(self, terms: PaymentTerms, answer: str, versions: Any) -> Any:
        self.asked.append(answer)
        return await super().check(terms, answer, versions) if self.asked.count(answer) == 1 else set()


async def test_a_fixed_code_is_right_in_any_process_and_a_replay_asks_no_verifier(store: RedisStore) -> None:
    verifier = OneTime()
    async with AsyncExitStack() as stack:
        engine, other, new = [
            await stack.enter_async_context(Engine(store, OLD, verifier=verifier)) for _ in range(3)
        ]
        alice = await make_setup(engine, store)
        payment = await alice.start()
        await engine.resend_code(user_id="alice", payment_id=payment.id)
        with pytest.raises(ConfirmationInvalid):
            await seen_by(other, alice).confirm(payment, "4712")
        assert (await seen_by(other, alice).confirm(payment, "4711")).status == "succeeded"
        for each in (other, new):
            assert (await seen_by(each, alice).confirm(payment, "4711")).replayed
        assert verifier.asked == ["4712", "4711"]
        assert not [each for each in await read_mock_inbox(store, "alice") if each.message.code]


OF_USERS = ("start_payment", "confirm_payment", "read_payment", "read_record")


async def scripts_of(store: RedisStore, call: Awaitable[Payment]) -> dict[str, int]:
    """Count the scripts of a call, without those of the loops."""
    before = {name: time.calls for name, time in store.script_times.items()}
    await call
    ran = {name: time.calls - before.get(name, 0) for name, time in store.script_times.items()}
    return {name: calls for name, calls in ran.items() if calls and name in OF_USERS}


async def test_a_start_and_a_confirm_are_one_script_each_and_another_process_reads_once(
    store: RedisStore,
) -> None:
    async with Engine(store, OLD) as engine, Engine(store, OLD) as other:
        alice = await make_setup(engine, store)
        invoice = await alice.invoice()
        assert await scripts_of(store, alice.start(invoice)) == {"start_payment": 1}
        (payment,) = (await engine.list_payments(user_id="alice")).data
        code = await alice.right_code(payment)
        assert await scripts_of(store, alice.confirm(payment, code)) == {"confirm_payment": 1}
        ran = await scripts_of(store, seen_by(other, alice).confirm(payment, code))
        assert ran == {"read_payment": 1, "confirm_payment": 1}
