"""Resends: commands refused by the lease, or with lost replies, in their old order."""

from typing import Any

import pytest
from support.fixtures.doubles import Result, Stage, settle

from technopay.engine import EngineClosed, InternalError, OutcomeUnknown, StoreUnavailable, WalletBusy
from technopay.engine.actors.actor import RESEND_S_MAX
from technopay.engine.ports import Outcome

OK: Outcome[Any] = Outcome("ok")
BUSY: Outcome[Any] = Outcome("busy")
FENCED: Outcome[Any] = Outcome("fenced")
BOUNDS: Outcome[Any] = Outcome("bounds")
NEW_TOKEN: Outcome[Any] = Outcome("ok", token="9")
LOST = OutcomeUnknown()

REFUSALS: list[tuple[Result, Result]] = [
    (BUSY, FENCED),
    (FENCED, FENCED),
    (BUSY, BUSY),
    (BOUNDS, FENCED),
    (LOST, LOST),
]
"""The result of the first of several commands, and the result of all commands sent behind it."""
refusals = pytest.mark.parametrize(
    ("first", "behind"), REFUSALS, ids=["busy then fenced", "fenced", "busy", "bounds", "lost"]
)


@refusals
async def test_what_was_refused_or_lost_goes_out_again_in_its_old_order(first: Result, behind: Result) -> None:
    stage = Stage()
    replies = stage.go_together("abcd")

    stage.store.answer(OK, first, behind, behind)
    await settle()
    assert stage.store.names == [*"abcd", "b"], "a newcomer goes out alone"
    assert stage.store.sent[-1].lease.token == ""
    while stage.store.under_way:
        stage.store.answer(NEW_TOKEN)

    assert stage.store.names == [*"abcd", *"bcd"]
    assert [sent.lease.token for sent in stage.store.sent[5:]] == ["9", "9"]
    assert [reply.result().code for reply in replies] == ["ok"] * 4


@refusals
async def test_nothing_new_overtakes_what_has_to_be_sent_again(first: Result, behind: Result) -> None:
    stage = Stage()
    stage.go_together("abc")

    stage.store.answer(first)
    stage.put("x")
    stage.store.answer(behind)
    await settle()
    stage.put("y")
    assert stage.store.names == [*"abc"], "something is still under way"
    stage.store.answer(behind)
    stage.put("z")
    assert stage.store.names == [*"abc"], "it goes out after this tick, perhaps after a pause"
    await settle()
    assert stage.store.names == [*"abc", "a"]
    stage.put("!")

    while stage.store.under_way:
        stage.store.answer(NEW_TOKEN)
    assert stage.store.names == [*"abc", *"abcxyz!"]


@refusals
async def test_what_was_refused_goes_out_in_its_old_order_whatever_was_result_first(
    first: Result, behind: Result
) -> None:
    """The reply for a script that has to be loaded first comes after the replies behind it."""
    stage = Stage()
    stage.go_together("abcd")

    for name, result in (("d", behind), ("b", behind), ("a", first), ("c", behind)):
        next(sent for sent in stage.store.under_way if sent.name == name).on_result(result)
    stage.store.under_way.clear()
    await settle()
    while stage.store.under_way:
        stage.store.answer(NEW_TOKEN)

    assert stage.store.names == [*"abcd", *"abcd"]


async def test_an_outcome_that_comes_late_lets_nothing_new_out() -> None:
    stage = Stage()
    stage.go_together("abc")
    late, refused, last = stage.store.under_way

    refused.on_result(FENCED)
    late.on_result(Outcome("ok", token="7"))
    stage.put("x")
    await settle()

    assert stage.store.names == [*"abc"]
    last.on_result(FENCED)
    await settle()
    assert stage.store.names[3] == "b"


@refusals
async def test_what_went_well_in_between_is_not_sent_again(first: Result, behind: Result) -> None:
    """A completion depends on its claim, not on the lease."""
    stage = Stage()
    replies = stage.go_together("abcd")

    stage.store.answer(first, OK, behind, InternalError())
    await settle()
    stage.store.answer(NEW_TOKEN, OK)

    assert stage.store.names == [*"abcd", *"ac"]
    assert [reply.exception() is None for reply in replies] == [True, True, True, False]


@pytest.mark.parametrize(("first", "behind"), REFUSALS[:-1])
async def test_an_asker_who_leaves_meanwhile_is_not_served_again(first: Result, behind: Result) -> None:
    stage = Stage()
    left, stays = stage.go_together("ab")
    stage.store.answer(first, behind)
    left.cancel()
    await settle()

    assert stage.store.names == [*"ab", "b"]
    stage.store.answer(OK)
    assert stays.result() == OK
    assert stage.passivated == ["wal_001"]


async def test_a_lost_reply_is_asked_for_again_and_followed_when_the_asker_has_left() -> None:
    stage = Stage()
    followed: list[Any] = []
    left = stage.put("a", on_outcome=followed.append)
    stage.store.answer(LOST)
    left.cancel()
    await settle()

    assert stage.store.names == [*"aa"]
    stage.store.answer(OK)
    assert followed == [OK]
    assert stage.passivated == ["wal_001"]


@refusals
async def test_an_actor_stays_while_something_has_to_be_sent_again(first: Result, behind: Result) -> None:
    stage = Stage()
    stage.go_together("ab")

    stage.store.answer(first, behind)
    assert stage.passivated == []
    await settle()
    stage.store.answer(OK)
    assert stage.passivated == []
    stage.store.answer(OK)

    assert stage.passivated == ["wal_001"]


async def test_what_was_unavailable_is_told_so_unless_it_follows_what_is_sent_again() -> None:
    stage = Stage()
    replies = stage.go_together("abcde")

    stage.store.answer(OK, StoreUnavailable(), FENCED, StoreUnavailable(), FENCED)
    await settle()
    stage.store.answer(NEW_TOKEN, OK, OK)

    assert stage.store.names == [*"abcde", *"cde"], "d follows c, behind which it was sent"
    assert [type(reply.exception()) for reply in replies] == [
        type(None), StoreUnavailable, type(None), type(None), type(None),
    ]  # fmt: skip


async def test_a_busy_wallet_is_tried_again_after_a_short_pause() -> None:
    stage = Stage()
    reply = stage.put("a", deadline_s=5)

    for _ in range(20):
        stage.store.answer(BUSY)
        await settle()
    stage.store.answer(OK)

    assert reply.result() == OK
    assert len(stage.clock.slept) == 20
    assert all(0 < pause_s <= 0.02 for pause_s in stage.clock.slept)
    assert len(set(stage.clock.slept)) > 10, "two processes must not come in step"


async def test_a_busy_wallet_is_left_alone_for_a_while_whatever_else_was_refused() -> None:
    stage = Stage()
    stage.go_together("abc")

    stage.store.answer(BUSY, FENCED, FENCED)
    await settle()

    (pause_s,) = stage.clock.slept
    assert 0 < pause_s <= 0.02


async def test_a_wallet_busy_until_the_deadline_is_wallet_busy() -> None:
    stage = Stage()
    began = stage.clock.now
    reply = stage.put("a", deadline_s=1)

    while stage.store.under_way:
        stage.store.answer(BUSY)
        await settle()

    with pytest.raises(WalletBusy):
        reply.result()
    assert stage.store.runs("a") > 10
    assert began + 0.97 <= stage.clock.now < began + 1.03
    assert stage.passivated == ["wal_001"]


async def test_a_wallet_found_busy_past_the_deadline_is_wallet_busy_and_the_next_one_goes_on() -> None:
    stage = Stage()
    late, next_one = stage.put("a", deadline_s=1), stage.put("b")
    stage.clock.now += 1

    stage.store.answer(BUSY, OK)

    with pytest.raises(WalletBusy):
        late.result()
    assert next_one.result() == OK
    assert stage.store.names == ["a", "b"]


@pytest.mark.parametrize("refusal", [FENCED, BOUNDS])
async def test_what_is_refused_by_mistake_goes_out_again_without_a_pause(refusal: Outcome[Any]) -> None:
    stage = Stage()
    reply = stage.put("a")

    stage.store.answer(refusal)
    await settle()
    stage.store.answer(OK)

    assert reply.result() == OK
    assert stage.clock.slept == []


async def test_a_lost_reply_is_asked_for_again_until_it_comes() -> None:
    stage = Stage()
    reply = stage.put("a", deadline_s=0.1)

    for result in (LOST, LOST, StoreUnavailable(), FENCED, LOST):
        stage.store.answer(result)
        await settle()
        assert not reply.done()
    assert stage.clock.slept == [0.05] * 4, "its deadline was for its beginning"
    stage.store.answer(Outcome("ok", "what it was", replayed=True))

    assert reply.result().value == "what it was"


@pytest.mark.parametrize("last", [LOST, StoreUnavailable()], ids=["lost", "unavailable"])
async def test_a_reply_that_stays_lost_is_unknown_after_5_s(last: Result) -> None:
    """An unavailable store now does not prove that the command had no effect then."""
    stage = Stage()
    began = stage.clock.now
    reply = stage.put("a")
    waiting = stage.put("b")

    stage.store.answer(LOST)
    await settle()
    while stage.store.names[-1] == "a":
        assert not reply.done()
        stage.store.answer(last)
        await settle()

    with pytest.raises(OutcomeUnknown):
        reply.result()
    assert RESEND_S_MAX == 5
    assert 5 <= stage.clock.now - began < 5.1
    assert {*stage.clock.slept} == {0.05}
    stage.store.answer(OK)
    assert waiting.result() == OK


async def test_a_lost_command_that_turns_out_to_have_a_defect_is_told_so() -> None:
    stage = Stage()
    reply = stage.put("a")

    stage.store.answer(LOST)
    await settle()
    stage.store.answer(InternalError())

    with pytest.raises(InternalError):
        reply.result()


async def test_nothing_overtakes_a_lost_command_that_is_refused_when_it_is_asked_for() -> None:
    """An unavailable store now leaves its outcome as unknown as before."""
    stage = Stage()
    replies = stage.go_together("abcd")
    stage.store.answer(LOST, LOST, LOST, LOST)
    await settle()
    stage.store.answer(NEW_TOKEN)
    stage.put("x")

    took_effect = ["a"]
    stage.store.answer(StoreUnavailable())
    await settle()
    while stage.store.under_way:
        took_effect.append(stage.store.under_way[0].name)
        stage.store.answer(NEW_TOKEN)
        await settle()

    assert took_effect == [*"abcdx"]
    assert [reply.result().code for reply in replies] == ["ok"] * 4


@pytest.mark.parametrize("refusal", [BUSY, FENCED, LOST], ids=["busy", "fenced", "lost"])
async def test_an_actor_that_is_abandoned_in_a_pause_sends_nothing_more(refusal: Result) -> None:
    stage = Stage()
    sent = stage.go_together("ab")
    stage.store.answer(refusal, refusal)
    waiting = stage.put("c")

    stage.actor.abandon()
    await settle()

    assert stage.store.names == [*"ab"]
    assert stage.passivated == ["wal_001"]
    assert {type(reply.exception()) for reply in sent} == {OutcomeUnknown}
    assert isinstance(waiting.exception(), EngineClosed)


async def test_an_actor_that_is_abandoned_does_not_say_of_lost_commands_that_nothing_happened() -> None:
    stage = Stage()
    lost = stage.go_together("abc")
    stage.store.answer(LOST, LOST, LOST)
    new = stage.put("d")
    await settle()
    assert stage.store.names == [*"abc", "a"], "the others wait in the mailbox again"

    stage.actor.abandon()

    assert [type(reply.exception()) for reply in lost] == [OutcomeUnknown] * 3
    assert isinstance(new.exception(), EngineClosed)
