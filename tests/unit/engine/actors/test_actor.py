"""The actor of a wallet: how it sends commands and returns their outcomes."""

import asyncio
from typing import Any

import pytest
from support.fixtures.doubles import Result, Stage, settle

from technopay.engine import EngineClosed, InternalError, OutcomeUnknown, Overloaded, StoreUnavailable
from technopay.engine.actors.actor import COMMANDS_SENT_MAX, LEASE_COMMANDS_MAX, LEASE_S_MAX
from technopay.engine.ports import Outcome

OK: Outcome[Any] = Outcome("ok")
TOKEN: Outcome[Any] = Outcome("ok", token="7")


async def test_a_command_goes_out_at_once_and_its_asker_gets_the_outcome() -> None:
    stage = Stage()
    reply = stage.put("a")
    outcome: Outcome[Any] = Outcome("insufficient_funds", details={"required": 2})

    assert stage.store.names == ["a"]
    assert not reply.done()
    stage.store.answer(outcome)

    assert reply.result() is outcome


async def test_without_a_token_one_command_goes_out_alone() -> None:
    stage = Stage()
    stage.put_all("abc")

    for sent in ("a", "ab", "abc"):
        assert stage.store.names == [*sent]
        assert len(stage.store.under_way) == 1
        stage.store.answer(OK)

    assert {sent.lease.token for sent in stage.store.sent} == {""}
    assert {sent.lease.owner for sent in stage.store.sent} == {"owner"}


async def test_with_a_token_all_that_wait_go_out_together_and_what_comes_follows_at_once() -> None:
    stage = Stage()
    stage.put_all("abcd")
    stage.store.answer(TOKEN)
    assert stage.store.names == [*"ab"], "b takes the lease, which may raise the token"
    stage.store.answer(TOKEN)
    assert stage.store.names == [*"abcd"]

    stage.put_all("ef")

    assert stage.store.names == [*"abcdef"]
    assert [sent.lease.token for sent in stage.store.sent] == ["", *["7"] * 5]


async def test_what_brings_no_token_did_not_take_the_lease_so_the_next_one_has_to() -> None:
    """A replayed outcome."""
    stage = Stage()
    stage.put_all("abcde")
    stage.store.answer(TOKEN)

    stage.store.answer(Outcome("ok", replayed=True))
    assert stage.store.names == [*"abc"]
    stage.store.answer(TOKEN)

    assert stage.store.names == [*"abcde"]


async def test_a_token_is_known_until_another_one_is_told() -> None:
    """Refusals have none."""
    stage = Stage()
    stage.go_together("ab")

    stage.store.answer(Outcome("wallet_not_found"))
    stage.put("c")
    stage.store.answer(Outcome("ok", token="8"))
    stage.put("d")

    assert [(sent.name, sent.lease.token) for sent in stage.store.sent[2:]] == [("c", "7"), ("d", "8")]


async def test_each_asker_gets_its_own_outcome_in_whatever_order_they_come() -> None:
    stage = Stage()
    names = "abcdef"
    replies = dict(zip(names, stage.go_together(names), strict=True))

    for which in (3, 0, 3, 0, 1, 0):
        sent = stage.store.under_way.pop(which)
        before = {name for name in names if replies[name].done()}
        sent.on_result(Outcome("ok", sent.name))
        assert {name for name in names if replies[name].done()} == before | {sent.name}

    assert {name: replies[name].result().value for name in names} == {name: name for name in names}
    assert stage.store.names == [*names]


async def test_no_more_than_so_many_commands_are_under_way() -> None:
    stage = Stage(capacity=3 * COMMANDS_SENT_MAX)
    count = 2 * COMMANDS_SENT_MAX
    for number in range(2 + count):
        stage.put(f"{number}")
    stage.store.answer(TOKEN, TOKEN)

    assert len(stage.store.under_way) == COMMANDS_SENT_MAX
    for _ in range(count - COMMANDS_SENT_MAX):
        stage.put("one more waits, too")
        stage.store.answer(TOKEN)
        assert len(stage.store.under_way) == COMMANDS_SENT_MAX

    assert stage.store.names[: 2 + count] == [f"{number}" for number in range(2 + count)]


async def test_what_is_under_way_takes_no_room_in_the_mailbox() -> None:
    stage = Stage(capacity=2)
    stage.put_all("abc")

    with pytest.raises(Overloaded):
        stage.put("d")
    stage.store.answer(TOKEN, TOKEN)
    assert stage.store.names == [*"abc"], "what was refused is not sent"
    stage.put_all("fgh")

    assert stage.store.names == [*"abcfgh"]


@pytest.mark.parametrize(
    "result",
    [StoreUnavailable(), InternalError(), Outcome("confirmation_invalid")],
    ids=["unavailable", "defect", "refusal"],
)
@pytest.mark.parametrize("token", ["", "7"], ids=["alone", "together"])
async def test_a_fault_or_a_refusal_goes_to_its_asker_and_the_next_command_goes_on(
    token: str, result: Result
) -> None:
    stage = Stage()
    replies = stage.go_together("abc") if token else stage.put_all("abc")

    stage.store.answer(OK, result, OK)

    if isinstance(result, Outcome):
        assert replies[1].result() is result
    else:
        assert replies[1].exception() is result
    assert [replies[0].result(), replies[2].result()] == [OK, OK]
    assert stage.store.names == [*"abc"], "nothing is sent again"


async def test_a_command_that_cannot_be_sent_costs_only_that_command(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.store.error = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    crashed = stage.put("a")
    stage.store.error = None
    next_one = stage.put("b")
    await settle()

    with pytest.raises(InternalError):
        crashed.result()
    assert "ChangeBalance" in caplog.text
    stage.store.answer(OK)
    assert next_one.result() == OK


async def test_a_command_past_its_deadline_is_dropped_before_it_is_sent() -> None:
    stage = Stage()
    under_way = stage.put("a", deadline_s=1)
    late, in_time = stage.put("b", deadline_s=1), stage.put("c", deadline_s=1.001)
    stage.clock.now += 1

    stage.store.answer(OK, OK)

    assert under_way.result() == OK, "what was sent in time is done"
    with pytest.raises(Overloaded):
        late.result()
    assert in_time.result() == OK
    assert stage.store.names == ["a", "c"]


async def test_a_command_whose_asker_left_before_it_was_sent_is_not_sent() -> None:
    stage = Stage()
    _, left, stays = stage.put_all("abc")
    left.cancel()

    stage.store.answer(OK, OK)

    assert stage.store.names == ["a", "c"]
    assert stays.result() == OK


async def test_a_command_whose_asker_leaves_while_it_is_under_way_is_finished() -> None:
    stage = Stage()
    left, next_one = stage.put_all("ab")
    left.cancel()
    assert stage.store.names == ["a"]

    stage.store.answer(OK, OK)

    assert next_one.result() == OK


async def test_the_lease_is_kept_only_while_more_commands_wait() -> None:
    stage = Stage()
    stage.put_all("abcd")
    stage.store.answer(TOKEN, TOKEN)
    stage.put("e")

    assert [sent.lease.keep for sent in stage.store.sent] == [False, True, True, False, False]


async def test_the_lease_is_given_up_after_64_commands() -> None:
    stage = Stage()
    for number in range(200):
        stage.put(f"{number}")
    while stage.store.under_way:
        stage.store.answer(TOKEN)

    given_up = [number for number, sent in enumerate(stage.store.sent) if not sent.lease.keep]
    assert LEASE_COMMANDS_MAX == 64
    assert given_up == [0, 64, 128, 192, 199], "the first and the last found nobody waiting"


async def test_the_lease_is_given_up_after_100_ms() -> None:
    stage = Stage()
    for number in range(12):
        stage.put(f"{number}")
    while stage.store.under_way:
        stage.clock.now += 0.03
        stage.store.answer(OK)

    assert LEASE_S_MAX == 0.1
    given_up = [number for number, sent in enumerate(stage.store.sent) if not sent.lease.keep]
    assert given_up == [0, 5, 10, 11]


async def test_an_actor_goes_when_the_last_outcome_was_told_and_not_before() -> None:
    stage = Stage()
    stage.go_together("ab")
    stage.put("c")
    for result in (OK, StoreUnavailable()):
        stage.store.answer(result)
        assert stage.passivated == []

    stage.store.answer(OK)

    assert stage.passivated == ["wal_001"]


async def test_an_actor_goes_when_all_that_is_left_is_dropped() -> None:
    stage = Stage()
    stage.put("a")
    stage.put("b").cancel()
    stage.put("c", deadline_s=0)

    stage.store.answer(OK)

    assert stage.passivated == ["wal_001"]
    assert stage.store.names == ["a"]


async def test_an_actor_that_is_abandoned_tells_what_is_known() -> None:
    stage = Stage()
    under_way = stage.go_together("ab")
    stage.store.answer(OK)
    busy_since = Stage()
    alone, waits = busy_since.put_all("cd")

    stage.actor.abandon()
    busy_since.actor.abandon()

    assert under_way[0].result() == OK
    for unknown in (under_way[1], alone):
        with pytest.raises(OutcomeUnknown):
            unknown.result()
    with pytest.raises(EngineClosed):
        waits.result()
    assert stage.passivated == busy_since.passivated == ["wal_001"]


@pytest.mark.parametrize(
    "result", [OK, Outcome("busy"), Outcome("fenced"), OutcomeUnknown(), StoreUnavailable()]
)
async def test_what_comes_after_an_actor_was_abandoned_changes_nothing(result: Result) -> None:
    stage = Stage()
    replies = stage.go_together("ab")
    stage.actor.abandon()

    stage.store.answer(result, result)
    await settle()

    assert stage.store.names == [*"ab"]
    assert stage.passivated == ["wal_001"]
    assert {type(reply.exception()) for reply in replies} == {OutcomeUnknown}
    assert len(asyncio.all_tasks()) == 1
