"""The limits on behaviour: counted per user by the scripts, in windows that begin with the first event."""

from __future__ import annotations

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_setup import (
    CODE_MS,
    RIGHT,
    WRONG,
    Setup,
    dump,
    new_id,
    operation,
    start_command,
    unrecorded,
)

from technopay.engine import commands
from technopay.engine.models import Payment, from_ms
from technopay.engine.ports import Outcome
from technopay.engine.values import Evidence, Operation

WINDOW_MS = {"codes": 3_600_000, "confirms": 60_000, "failures": 86_400_000}
DAYS_MS = 2 * 86_400_000


def guess(
    payment: str,
    evidence: Evidence = WRONG,
    *,
    confirms: int | None = None,
    failures: int | None = None,
) -> commands.ConfirmPayment:
    return commands.ConfirmPayment(new_id("op"), payment, "alice", evidence, confirms, failures)


def resend(
    payment: str, issue: int, codes: int | None, identity: Operation | None = None
) -> commands.ResendCode:
    return commands.ResendCode(identity or unrecorded(), payment, "alice", issue, CODE_MS, codes)


class Habit:
    """Somebody who does one thing again and again, under a limit of two."""

    def __init__(self, setup: Setup, name: str) -> None:
        self._setup = setup
        self.name = name
        self.wallet_id = ""
        self.payment = ""

    async def prepare(self) -> None:
        self.wallet_id = await self._setup.wallet()
        if self.name != "codes":
            self.payment = await self._waiting()

    async def repeat(self) -> Outcome[Payment]:
        """Do it once more; the payment that it is done to waits for its code as long as it takes."""
        if self.name == "codes":
            return await self._setup.start(self.wallet_id, await self._setup.invoice(), codes_per_hour=2)
        await self._setup.write_code(
            self.payment, expires_at=await self._setup.now_ms() + CODE_MS, payable_until=9_999_999_999_999
        )
        return await self._setup.run(guess(self.payment, **{self.name: 2}))  # type: ignore[arg-type]

    async def kept(self) -> tuple[int, int]:
        """Answer when the window ends, and what was counted in it."""
        fields = await self._setup.fields("user", "alice")
        ends_at, count = fields[self.name].split(" ")
        return int(ends_at), int(count)

    def is_done(self, outcome: Outcome[Payment]) -> bool:
        return outcome.code == ("ok" if self.name == "codes" else "confirmation_invalid")

    async def _waiting(self) -> str:
        return await self._setup.started(self.wallet_id, await self._setup.invoice(), lifetime_ms=DAYS_MS)


@pytest.fixture(params=list(WINDOW_MS))
async def habit(request: pytest.FixtureRequest, setup: Setup) -> Habit:
    habit = Habit(setup, request.param)
    await habit.prepare()
    return habit


async def test_what_is_done_is_counted_to_the_limit_and_one_more_is_refused_and_writes_nothing(
    setup: Setup, habit: Habit
) -> None:
    before_ms = await setup.now_ms()
    assert habit.is_done(await habit.repeat())
    ends_at, count = await habit.kept()
    length_ms = WINDOW_MS[habit.name]
    assert before_ms + length_ms <= ends_at <= await setup.now_ms() + length_ms
    assert count == 1
    assert habit.is_done(await habit.repeat())
    assert await habit.kept() == (ends_at, 2), "the window stays where its first event put it"
    invoice = await setup.invoice()
    before = await dump(setup.store)

    if habit.name == "codes":
        refused = await setup.start(habit.wallet_id, invoice, codes_per_hour=2)
    else:
        refused = await setup.run(guess(habit.payment, RIGHT, **{habit.name: 2}))

    assert (refused.code, refused.details["too_many"]) == ("rate_limited", habit.name)
    assert 0 < refused.details["retry_after_s"] <= length_ms / 1000
    assert await dump(setup.store) == before
    assert all(len(value) < 64 for value in (await setup.fields("user", "alice")).values()), "a small hash"


async def test_a_window_that_is_over_makes_room(setup: Setup, habit: Habit) -> None:
    now_ms = await setup.now_ms()
    await setup.write("user", "alice", **{habit.name: f"{now_ms + 30_000} 2"})
    assert (await habit.repeat()).code == "rate_limited"
    await setup.write("user", "alice", **{habit.name: f"{now_ms} 2"})
    assert habit.is_done(await habit.repeat())
    assert (await habit.kept())[1] == 1


@pytest.mark.parametrize("name", WINDOW_MS)
async def test_a_window_ends_by_the_millisecond(clocked: Setup, fake_clock: FakeClock, name: str) -> None:
    habit = Habit(clocked, name)
    await habit.prepare()
    began_at = fake_clock.now_ms
    assert habit.is_done(await habit.repeat())
    fake_clock.advance(1_000)
    assert habit.is_done(await habit.repeat())

    fake_clock.now_ms = began_at + WINDOW_MS[name] - 1
    refused = await habit.repeat()
    assert (refused.code, refused.details["retry_after_s"]) == ("rate_limited", 0.001)
    fake_clock.advance(1)
    assert habit.is_done(await habit.repeat())

    assert await habit.kept() == (fake_clock.now_ms + WINDOW_MS[name], 1)


@pytest.mark.parametrize("name", WINDOW_MS)
async def test_a_clock_that_jumped_back_does_not_make_a_window_longer(
    clocked: Setup, fake_clock: FakeClock, name: str
) -> None:
    habit = Habit(clocked, name)
    await habit.prepare()
    for _ in range(2):
        assert habit.is_done(await habit.repeat())
    assert (await habit.repeat()).details["retry_after_s"] == WINDOW_MS[name] / 1000
    fake_clock.advance(-1)
    assert habit.is_done(await habit.repeat())


async def test_the_right_code_is_refused_when_it_was_tried_too_often_and_taken_afterwards(setup: Setup) -> None:
    wallet = await setup.wallet()
    first, second = [await setup.started(wallet, await setup.invoice()) for _ in range(2)]
    wrong = await setup.run(guess(first, confirms=2, failures=2))
    assert wrong.details == {"attempts_remaining": 4}
    wrong = await setup.run(guess(second, confirms=2, failures=2))
    assert wrong.details == {"attempts_remaining": 4}, "of this payment"

    for name in ("failures", "confirms"):
        for payment in (first, second):
            for evidence in (RIGHT, WRONG):
                refused = await setup.run(guess(payment, evidence, confirms=2, failures=2))
                assert (refused.code, refused.details["too_many"]) == ("rate_limited", name)
                assert refused.value is not None
                assert refused.value.confirmation is not None
                assert refused.value.confirmation.attempts_remaining == 4
        await setup.write("user", "alice", **{name: "1700000000000 2"})

    assert (await setup.run(guess(first, RIGHT, confirms=2, failures=2))).code == "ok"
    assert await setup.money(wallet) == (9_000, 1_000)


async def test_a_lock_out_is_judged_before_how_often_somebody_confirms(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    payment = await clocked.started(await clocked.wallet(), await clocked.invoice())
    until = fake_clock.now_ms + 20_000
    await clocked.write("user", "alice", confirms=f"{until + 10_000} 1", failures=f"{until} 1")
    refused = await clocked.run(guess(payment, RIGHT, confirms=1, failures=1))
    assert dict(refused.details) == {
        "retry_after_s": 20, "too_many": "failures", "locked_until": from_ms(until),
    }  # fmt: skip
    fake_clock.advance(20_000)
    refused = await clocked.run(guess(payment, RIGHT, confirms=1, failures=1))
    assert dict(refused.details) == {"retry_after_s": 10, "too_many": "confirms"}


async def test_nobody_pays_for_what_another_user_does(setup: Setup, habit: Habit) -> None:
    for _ in range(2):
        assert habit.is_done(await habit.repeat())
    await setup.user("bob")
    invoice = await setup.invoice("bob")
    payment = await setup.started(await setup.wallet("bob"), invoice, "bob", codes_per_hour=1)
    command = commands.ConfirmPayment(new_id("op"), payment, "bob", RIGHT, 1, 1)
    assert (await setup.run(command)).code == "ok"


async def test_starts_and_resends_are_codes_together(setup: Setup) -> None:
    wallet = await setup.wallet()
    payment = await setup.started(wallet, await setup.invoice(), codes_per_hour=3)
    assert (await setup.run(resend(payment, 2, 3))).code == "ok"
    assert (await setup.run(resend(payment, 3, 3))).code == "ok"
    before = await dump(setup.store)
    refused = await setup.run(resend(payment, 4, 3))
    assert (refused.code, refused.details["too_many"]) == ("rate_limited", "codes")
    assert await dump(setup.store) == before
    # A start that is refused does not cancel the payment before it.
    live = await setup.payment(payment)
    refused = await setup.start(wallet, live.invoice_id, codes_per_hour=3)
    assert (refused.code, refused.details["too_many"]) == ("rate_limited", "codes")
    assert await dump(setup.store) == before

    assert (await setup.run(resend(payment, 4, None))).code == "ok"
    refused = await setup.run(resend(payment, 5, 3))
    assert refused.details["too_many"] == "resends", "the payment's own bound comes first"


@pytest.mark.parametrize("spoilt", ["funds", "limit"])
@pytest.mark.corrupts
async def test_a_right_code_that_cannot_be_used_is_a_confirm_and_no_failure(setup: Setup, spoilt: str) -> None:
    wallet = await setup.wallet()
    payment = await setup.started(wallet, await setup.invoice())
    if spoilt == "funds":
        await setup.write("wallet", wallet, balance=1)
    else:
        await setup.set_limit("EUR", 1)
    refused = await setup.run(guess(payment, RIGHT, confirms=1, failures=1))
    assert refused.code in ("insufficient_funds", "daily_limit_exceeded")
    fields = await setup.fields("user", "alice")
    assert fields["confirms"].endswith(" 1")
    assert "failures" not in fields


async def test_what_never_reaches_the_code_is_not_counted(setup: Setup) -> None:
    wallet = await setup.wallet()
    payment = await setup.started(wallet, await setup.invoice())
    expired = await setup.started(wallet, await setup.invoice(), lifetime_ms=0)
    await setup.cancel(payment)
    before = await dump(setup.store)
    for each in (payment, expired, "pay_00none"):
        for evidence in (RIGHT, WRONG):
            await setup.run(guess(each, evidence, confirms=5, failures=5))
    assert await dump(setup.store) == before


@pytest.mark.parametrize("evidence", [RIGHT, WRONG], ids=["right", "wrong"])
async def test_a_confirm_that_comes_again_is_counted_once_and_answered_over_the_limit(
    setup: Setup, evidence: Evidence
) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    command = guess(payment, evidence, confirms=1, failures=1)
    first = await setup.run(command)
    assert first.code == ("ok" if evidence == RIGHT else "confirmation_invalid")
    before = await dump(setup.store)
    for _ in range(2):
        again = await setup.run(command)
        assert (again.code, again.details) == (first.code, first.details)
    assert await dump(setup.store) == before
    assert (await setup.fields("user", "alice"))["confirms"].endswith(" 1")


async def test_the_accepted_code_is_answered_again_over_the_limit(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    assert (await setup.run(guess(payment, RIGHT, confirms=1, failures=1))).code == "ok"
    before = await dump(setup.store)
    replay = await setup.run(guess(payment, RIGHT, confirms=1, failures=1))
    assert (replay.code, replay.replayed) == ("ok", True)
    assert await dump(setup.store) == before


async def test_a_late_copy_of_a_wrong_code_is_not_counted_again(setup: Setup) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    guesses = [guess(payment, confirms=9, failures=9) for _ in range(3)]
    for command in guesses:
        await setup.run(command)
    before = await dump(setup.store)
    for command in guesses:
        assert (await setup.run(command)).code == "confirmation_invalid"
    assert await dump(setup.store) == before
    fields = await setup.fields("user", "alice")
    assert [fields[name].split(" ")[1] for name in ("confirms", "failures")] == ["3", "3"]


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_a_start_and_a_resend_that_come_again_are_counted_once_and_answered_over_the_limit(
    setup: Setup, *, is_recorded: bool
) -> None:
    def identity() -> Operation:
        return operation() if is_recorded else unrecorded()

    start = start_command(await setup.wallet(), await setup.invoice(), identity=identity(), codes_per_hour=2)
    again = resend(start.payment_id, 2, 2, identity())
    for command in (start, start, again, again, start):
        outcome = await setup.run(command)
        assert outcome.code == "ok"
    assert (await setup.fields("user", "alice"))["codes"].endswith(" 2")


async def test_limits_that_are_lifted_leave_nothing_in_the_user(setup: Setup) -> None:
    before = await setup.fields("user", "alice")
    wallet = await setup.wallet()
    before[wallet] = ""
    payment = await setup.started(wallet, await setup.invoice())
    for command in (resend(payment, 2, None), guess(payment), guess(payment, RIGHT)):
        await setup.run(command)
    assert await setup.fields("user", "alice") == before
