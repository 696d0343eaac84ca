from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.stand_ins import ManualClock, ScriptedCommand

from technopay.engine import (
    EngineClosed,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    WalletBusy,
)
from technopay.engine.actor import LEASE_COMMANDS_MAX, LEASE_S_MAX, Actor
from technopay.engine.mailbox import Envelope
from technopay.engine.ports import Outcome

NO_STORE: Any = None
OK: Outcome[Any] = Outcome("ok")
BUSY: Outcome[Any] = Outcome("busy")
FENCED: Outcome[Any] = Outcome("fenced")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def actor(clock: ManualClock) -> Actor:
    return Actor(NO_STORE, clock, "owner", capacity=1_000)


def send(actor: Actor, command: Any, deadline: float = float("inf")) -> asyncio.Future[Outcome[Any]]:
    reply: asyncio.Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
    actor.mailbox.put(Envelope(command, reply, deadline))
    return reply


async def test_commands_are_carried_out_one_at_a_time_and_in_order(actor: Actor) -> None:
    log: list[str] = []

    def command(name: str) -> ScriptedCommand:
        async def before() -> None:
            log.append(f"{name} begins")
            await asyncio.sleep(0.001)
            log.append(f"{name} ends")

        return ScriptedCommand(before=before)

    replies = [send(actor, command(name)) for name in "abc"]
    await actor.work()

    assert log == [f"{name} {step}" for name in "abc" for step in ("begins", "ends")]
    assert all(reply.result() == OK for reply in replies)


async def test_a_crash_costs_only_that_command(actor: Actor, caplog: pytest.LogCaptureFixture) -> None:
    crashed, next_one = send(actor, ScriptedCommand(ZeroDivisionError())), send(actor, ScriptedCommand())

    await actor.work()

    with pytest.raises(InternalError):
        crashed.result()
    assert next_one.result() == OK
    assert "a command crashed: ScriptedCommand" in caplog.text


async def test_a_fault_goes_to_its_asker(actor: Actor) -> None:
    faulty, next_one = send(actor, ScriptedCommand(StoreUnavailable())), send(actor, ScriptedCommand())

    await actor.work()

    with pytest.raises(StoreUnavailable):
        faulty.result()
    assert next_one.result() == OK


async def test_a_command_past_its_deadline_is_dropped_before_it_runs(actor: Actor, clock: ManualClock) -> None:
    late, in_time = ScriptedCommand(), ScriptedCommand()
    dropped = send(actor, late, deadline=clock.now)
    done = send(actor, in_time, deadline=clock.now + 0.001)

    await actor.work()

    with pytest.raises(Overloaded):
        dropped.result()
    assert late.runs == 0
    assert done.result() == OK


async def test_a_command_whose_asker_left_before_it_began_is_not_run(actor: Actor) -> None:
    command = ScriptedCommand()
    send(actor, command).cancel()

    await actor.work()

    assert command.runs == 0


async def test_a_command_whose_asker_leaves_while_it_runs_is_finished(actor: Actor) -> None:
    ended: list[bool] = []

    async def before() -> None:
        reply.cancel()
        await asyncio.sleep(0)
        ended.append(True)

    command, next_one = ScriptedCommand(before=before), ScriptedCommand()
    reply = send(actor, command)
    send(actor, next_one)
    await actor.work()

    assert ended == [True]
    assert next_one.runs == 1


async def test_a_busy_wallet_is_tried_again(actor: Actor, clock: ManualClock) -> None:
    command = ScriptedCommand(BUSY, BUSY, OK)
    reply = send(actor, command, deadline=clock.now + 5)

    await actor.work()

    assert reply.result() == OK
    assert command.runs == 3
    assert all(0 < pause <= 0.02 for pause in clock.slept)


async def test_a_wallet_busy_until_the_deadline_is_wallet_busy(actor: Actor, clock: ManualClock) -> None:
    began = clock.now
    command = ScriptedCommand(BUSY)
    reply = send(actor, command, deadline=began + 1)

    await actor.work()

    with pytest.raises(WalletBusy):
        reply.result()
    assert command.runs > 10
    assert began + 1 <= clock.now < began + 1.1


async def test_whoever_was_fenced_comes_again_as_a_newcomer(actor: Actor) -> None:
    send(actor, ScriptedCommand(Outcome("ok", token="7")))
    fenced = ScriptedCommand(FENCED, Outcome("ok", token="9"))
    reply = send(actor, fenced)
    last = ScriptedCommand()
    send(actor, last)

    await actor.work()

    assert reply.result().code == "ok"
    assert [lease.token for lease in fenced.leases] == ["7", ""]
    assert [lease.token for lease in last.leases] == ["9"]


async def test_a_newcomer_that_is_fenced_has_its_answer(actor: Actor) -> None:
    """The claim of a completion is old: trying again would not help."""
    command = ScriptedCommand(FENCED)
    reply = send(actor, command)

    await actor.work()

    assert reply.result() == FENCED
    assert command.runs == 1


async def test_a_busy_wallet_makes_the_token_worthless(actor: Actor, clock: ManualClock) -> None:
    send(actor, ScriptedCommand(Outcome("ok", token="7")))
    busy = ScriptedCommand(BUSY, OK)
    send(actor, busy, deadline=clock.now + 5)

    await actor.work()

    assert [lease.token for lease in busy.leases] == ["7", ""]


async def test_the_lease_is_kept_only_while_more_commands_wait(actor: Actor) -> None:
    commands = [ScriptedCommand() for _ in range(3)]
    for command in commands:
        send(actor, command)

    await actor.work()

    assert [command.leases[0].keep for command in commands] == [True, True, False]
    assert {command.leases[0].owner for command in commands} == {"owner"}


async def test_the_lease_is_given_up_after_64_commands(actor: Actor) -> None:
    commands = [ScriptedCommand() for _ in range(130)]
    for command in commands:
        send(actor, command)

    await actor.work()

    given_up = [number for number, command in enumerate(commands, 1) if not command.leases[0].keep]
    assert LEASE_COMMANDS_MAX == 64
    assert given_up == [64, 128, 130]


async def test_the_lease_is_given_up_after_100_ms(actor: Actor, clock: ManualClock) -> None:
    async def take_30_ms() -> None:
        clock.now += 0.03

    commands = [ScriptedCommand(before=take_30_ms) for _ in range(10)]
    for command in commands:
        send(actor, command)

    await actor.work()

    assert LEASE_S_MAX == 0.1
    given_up = [number for number, command in enumerate(commands, 1) if not command.leases[0].keep]
    assert given_up == [5, 10]


async def test_whoever_asks_a_canceled_actor_does_not_wait_for_ever(actor: Actor) -> None:
    running = send(actor, ScriptedCommand(before=lambda: asyncio.sleep(60)))
    waiting = send(actor, ScriptedCommand())
    work = asyncio.create_task(actor.work())
    await asyncio.sleep(0)

    work.cancel()
    await asyncio.gather(work, return_exceptions=True)

    with pytest.raises(OutcomeUnknown):
        running.result()
    with pytest.raises(EngineClosed):
        waiting.result()
