"""The limits on behaviour: counted per user by the scripts, in windows that begin with the first event."""

from collections.abc import Callable

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.store_setup import (
    CODE_MS,
    RIGHT,
    WRONG,
    Setup,
    new_id,
    operation,
    start_command,
    unrecorded,
    value_of,
)

from technopay.engine import commands
from technopay.engine.models import Payment
from technopay.engine.ports import Outcome
from technopay.engine.record import from_ms
from technopay.engine.values import Evidence, Operation

WINDOW_MS = {"codes": 3_600_000, "confirms": 60_000, "failures": 86_400_000}
DAYS_MS = 2 * 86_400_000


def confirm(payment: str, evidence: Evidence = WRONG, **limits: int) -> commands.ConfirmPayment:
    names = {"confirms": "confirms_per_minute", "failures": "failures_per_day"}
    named = {names[name]: limit for name, limit in limits.items()}
    return commands.ConfirmPayment(new_id("op"), payment, "alice", evidence, **named)


def resend(payment: str, version: int, codes: int | None, identity: Operation) -> commands.ResendCode:
    return commands.ResendCode(identity, payment, "alice", version, CODE_MS, codes)


class Habit:
    """A user with a repeated action, under a limit of two."""

    def __init__(self, setup: Setup, name: str) -> None:
        self._setup = setup
        self.name = name
        self.wallet_id = ""
        self.payment = ""

    async def prepare(self) -> None:
        self.wallet_id, invoice = await self._setup.wallet(), await self._setup.invoice()
        if self.name != "codes":
            self.payment = await self._setup.started(self.wallet_id, invoice, lifetime_ms=DAYS_MS)

    async def repeat(self) -> Outcome[Payment]:
        """Do it once more; the payment of the action waits for its code without a limit."""
        if self.name == "codes":
            return await self._setup.start(self.wallet_id, await self._setup.invoice(), codes_per_hour=2)
        await self._setup.write_code(
            self.payment, expires_at=await self._setup.now_ms() + CODE_MS, payable_until=9_999_999_999_999
        )
        return await self._setup.run(confirm(self.payment, WRONG, **{self.name: 2}))

    async def kept(self) -> tuple[int, int]:
        """Return the end of the window, and its count."""
        ends_at, count = (await self._setup.fields("user", "alice"))[self.name].split(" ")
        return int(ends_at), int(count)

    def is_done(self, outcome: Outcome[Payment]) -> bool:
        return outcome.code == ("ok" if self.name == "codes" else "confirmation_invalid")


@pytest.fixture(params=list(WINDOW_MS))
async def habit(request: pytest.FixtureRequest, setup: Setup) -> Habit:
    habit = Habit(setup, request.param)
    await habit.prepare()
    return habit


async def test_events_are_counted_to_the_limit_and_one_more_is_refused_and_writes_nothing(
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
        refused = await setup.run(confirm(habit.payment, RIGHT, **{habit.name: 2}))

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
    payments = [await setup.started(wallet, await setup.invoice()) for _ in range(2)]
    for payment in payments:
        wrong = await setup.run(confirm(payment, confirms=2, failures=2))
        assert wrong.details == {"attempts_remaining": 4}, "of this payment"

    for name in ("failures", "confirms"):
        for payment in payments:
            for evidence in (RIGHT, WRONG):
                refused = await setup.run(confirm(payment, evidence, confirms=2, failures=2))
                assert (refused.code, refused.details["too_many"]) == ("rate_limited", name)
                confirmation = value_of(refused).confirmation
                assert confirmation is not None
                assert confirmation.attempts_remaining == 4
        await setup.write("user", "alice", **{name: "1700000000000 2"})

    assert (await setup.run(confirm(payments[0], RIGHT, confirms=2, failures=2))).code == "ok"
    assert await setup.money(wallet) == (9_000, 1_000)


async def test_a_lock_out_is_judged_before_how_often_somebody_confirms(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    payment = await clocked.started(await clocked.wallet(), await clocked.invoice())
    until = fake_clock.now_ms + 20_000
    await clocked.write("user", "alice", confirms=f"{until + 10_000} 1", failures=f"{until} 1")
    locked_out = {"retry_after_s": 20, "too_many": "failures", "locked_until": from_ms(until)}
    for details in (locked_out, {"retry_after_s": 10, "too_many": "confirms"}):
        refused = await clocked.run(confirm(payment, RIGHT, confirms=1, failures=1))
        assert dict(refused.details) == details
        fake_clock.advance(20_000)


async def test_nobody_pays_for_what_another_user_does(setup: Setup, habit: Habit) -> None:
    for _ in range(2):
        assert habit.is_done(await habit.repeat())
    await setup.user("bob")
    invoice = await setup.invoice("bob")
    payment = await setup.started(await setup.wallet("bob"), invoice, "bob", codes_per_hour=1)
    await setup.done(commands.ConfirmPayment(new_id("op"), payment, "bob", RIGHT, 1, 1))


async def test_starts_and_resends_are_codes_together(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment = await setup.started(wallet, invoice, codes_per_hour=3)
    for version in (2, 3):
        await setup.done(resend(payment, version, 3, unrecorded()))
    before = await dump(setup.store)
    # A start that is refused does not cancel the payment before it.
    for command in (resend(payment, 4, 3, unrecorded()), start_command(wallet, invoice, codes_per_hour=3)):
        refused = await setup.run(command)
        assert (refused.code, refused.details["too_many"]) == ("rate_limited", "codes")
        assert await dump(setup.store) == before

    await setup.done(resend(payment, 4, None, unrecorded()))
    refused = await setup.run(resend(payment, 5, 3, unrecorded()))
    assert refused.details["too_many"] == "resends", "the payment's own bound comes first"


@pytest.mark.parametrize("spoilt", [pytest.param("funds", marks=pytest.mark.corrupts), "limit"])
async def test_a_right_code_that_cannot_be_used_is_a_confirm_and_no_failure(setup: Setup, spoilt: str) -> None:
    wallet = await setup.wallet()
    payment = await setup.started(wallet, await setup.invoice())
    if spoilt == "funds":
        await setup.write("wallet", wallet, balance=1)
    else:
        await setup.set_limit("EUR", 1)
    refused = await setup.run(confirm(payment, RIGHT, confirms=1, failures=1))
    assert refused.code in ("insufficient_funds", "daily_limit_exceeded")
    fields = await setup.fields("user", "alice")
    assert fields["confirms"].endswith(" 1")
    assert "failures" not in fields


@pytest.mark.parametrize("evidence", [RIGHT, WRONG], ids=["right", "wrong"])
async def test_a_confirm_that_comes_again_is_counted_once_and_answered_over_the_limit(
    setup: Setup, evidence: Evidence
) -> None:
    payment = await setup.started(await setup.wallet(), await setup.invoice())
    command = confirm(payment, evidence, confirms=1, failures=1)
    first = await setup.run(command)
    assert first.code == ("ok" if evidence == RIGHT else "confirmation_invalid")
    before = await dump(setup.store)
    for _ in range(2):
        again = await setup.run(command)
        assert (again.code, again.details) == (first.code, first.details)
    if evidence == RIGHT:
        replay = await setup.run(confirm(payment, RIGHT, confirms=1, failures=1))
        assert (replay.code, replay.replayed) == ("ok", True)
    assert await dump(setup.store) == before
    assert (await setup.fields("user", "alice"))["confirms"].endswith(" 1")


@pytest.mark.parametrize("identity", [operation, unrecorded])
async def test_a_start_and_a_resend_that_come_again_are_counted_once_and_answered_over_the_limit(
    setup: Setup, identity: Callable[[], Operation]
) -> None:
    start = start_command(await setup.wallet(), await setup.invoice(), identity=identity(), codes_per_hour=2)
    again = resend(start.payment_id, 2, 2, identity())
    for command in (start, start, again, again, start):
        await setup.done(command)
    assert (await setup.fields("user", "alice"))["codes"].endswith(" 2")


async def test_limits_that_are_lifted_leave_nothing_in_the_user(setup: Setup) -> None:
    wallet = await setup.wallet()
    before = await setup.fields("user", "alice")
    payment = await setup.started(wallet, await setup.invoice())
    for command in (resend(payment, 2, None, unrecorded()), confirm(payment), confirm(payment, RIGHT)):
        await setup.run(command)
    assert await setup.fields("user", "alice") == before
