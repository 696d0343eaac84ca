from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from support.scenes import quick_settings
from support.stand_ins import ManualClock, ScriptedCommand

from technopay.engine import EngineClosed, OutcomeUnknown, Overloaded
from technopay.engine.actor import Actor
from technopay.engine.directory import Directory
from technopay.engine.ports import Outcome

NO_STORE: Any = None


def make_directory(**settings: Any) -> Directory:
    return Directory(NO_STORE, ManualClock(), quick_settings(**settings), "owner")


class Gate:
    """Commands that wait until the gate is opened."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    def command(self) -> ScriptedCommand:
        return ScriptedCommand(before=self._opened.wait)

    def open(self) -> None:
        self._opened.set()


async def begin(*asked: Any) -> list[asyncio.Task[Any]]:
    """Let askers ask, each in its own task, in this order."""
    tasks = [asyncio.ensure_future(each) for each in asked]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def live_actors() -> set[int]:
    gc.collect()
    return {id(found) for found in gc.get_objects() if isinstance(found, Actor)}


async def test_a_command_gets_its_outcome() -> None:
    outcome: Outcome[Any] = Outcome("ok", token="7")

    assert await make_directory().ask("wal_1", ScriptedCommand(outcome)) == outcome


async def test_an_idle_wallet_is_no_task_and_no_object() -> None:
    directory = make_directory()
    tasks, actors = asyncio.all_tasks(), live_actors()

    await directory.ask("wal_1", ScriptedCommand())
    await asyncio.sleep(0)

    assert directory.live_actors == 0
    assert asyncio.all_tasks() == tasks
    assert live_actors() <= actors


async def test_passivation_loses_no_command() -> None:
    """Commands come at every moment around the one in which the mailbox is found empty."""
    directory = make_directory()
    commands = [ScriptedCommand() for _ in range(500)]

    async def ask_later(command: ScriptedCommand, ticks: int) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        await directory.ask("wal_1", command)

    async with asyncio.timeout(5):
        await asyncio.gather(*(ask_later(command, number // 3) for number, command in enumerate(commands)))

    assert {command.runs for command in commands} == {1}
    await asyncio.sleep(0)
    assert directory.live_actors == 0


async def test_one_wallet_has_one_actor_and_several_have_several() -> None:
    directory, gate = make_directory(), Gate()
    first, second, other = gate.command(), gate.command(), gate.command()
    tasks = await begin(
        directory.ask("wal_1", first), directory.ask("wal_1", second), directory.ask("wal_2", other)
    )

    assert directory.live_actors == 2
    assert (first.runs, second.runs, other.runs) == (1, 0, 1)
    assert directory.commands_waiting == 3
    gate.open()
    await asyncio.gather(*tasks)
    assert directory.commands_waiting == 0


async def test_one_command_too_many_for_a_wallet_is_refused_as_overloaded() -> None:
    directory, gate = make_directory(mailbox_capacity=2), Gate()
    tasks = await begin(*(directory.ask("wal_1", gate.command()) for _ in range(2)))
    tasks += await begin(directory.ask("wal_1", gate.command()))

    with pytest.raises(Overloaded):
        await directory.ask("wal_1", ScriptedCommand())

    assert (await directory.ask("wal_2", ScriptedCommand())).code == "ok", "another wallet has its own mailbox"
    gate.open()
    assert [outcome.code for outcome in await asyncio.gather(*tasks)] == ["ok"] * 3


async def test_one_command_too_many_for_all_wallets_is_refused_as_overloaded() -> None:
    directory, gate = make_directory(commands_waiting_max=2), Gate()
    tasks = await begin(directory.ask("wal_1", gate.command()), directory.ask("wal_2", gate.command()))

    with pytest.raises(Overloaded):
        await directory.ask("wal_3", ScriptedCommand())

    gate.open()
    await asyncio.gather(*tasks)
    assert (await directory.ask("wal_3", ScriptedCommand())).code == "ok"


async def test_askers_who_leave_make_room() -> None:
    directory, gate = make_directory(commands_waiting_max=1), Gate()
    (task,) = await begin(directory.ask("wal_1", gate.command()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert directory.commands_waiting == 0
    gate.open()


async def test_a_completion_gets_in_when_everything_is_full() -> None:
    directory, gate = make_directory(mailbox_capacity=1, commands_waiting_max=2), Gate()
    tasks = await begin(directory.ask("wal_1", gate.command()))
    tasks += await begin(directory.ask("wal_1", gate.command()))
    completion = ScriptedCommand()

    tasks += await begin(directory.complete("wal_1", completion))
    gate.open()
    await asyncio.gather(*tasks)

    assert completion.runs == 1


async def test_a_completion_has_no_deadline() -> None:
    clock = ManualClock()
    directory, gate = Directory(NO_STORE, clock, quick_settings(), "owner"), Gate()
    tasks = await begin(directory.ask("wal_1", gate.command()))
    completion, asked = ScriptedCommand(), ScriptedCommand()
    tasks += await begin(directory.complete("wal_1", completion), directory.ask("wal_1", asked))
    clock.now += 3_600
    gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert completion.runs == 1
    assert asked.runs == 0
    assert isinstance(outcomes[2], Overloaded)


async def test_a_drain_finishes_what_was_accepted_and_refuses_what_comes() -> None:
    directory, gate = make_directory(), Gate()
    accepted = [gate.command() for _ in range(3)]
    tasks = await begin(*(directory.ask("wal_1", command) for command in accepted))
    drain = await begin(directory.drain(5))

    with pytest.raises(EngineClosed):
        await directory.ask("wal_1", ScriptedCommand())
    gate.open()
    await asyncio.gather(*drain)

    assert [outcome.code for outcome in await asyncio.gather(*tasks)] == ["ok"] * 3
    assert directory.live_actors == 0


async def test_a_completion_gets_in_while_draining() -> None:
    directory = make_directory()
    await directory.drain(1)

    assert (await directory.complete("wal_1", ScriptedCommand())).code == "ok"


async def test_a_drain_gives_up_what_takes_too_long() -> None:
    directory = make_directory()
    tasks = await begin(directory.ask("wal_1", Gate().command()))
    tasks += await begin(directory.ask("wal_1", ScriptedCommand()))

    await directory.drain(0.01)
    running, waiting = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(running, OutcomeUnknown)
    assert isinstance(waiting, EngineClosed)
    assert directory.live_actors == 0
