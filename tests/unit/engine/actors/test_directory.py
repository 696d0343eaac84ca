import asyncio
import gc
from typing import Any

import pytest
from support.fixtures.doubles import ManualClock, ScriptedStore, make_command, settle
from support.fixtures.engine_setup import quick_settings

from technopay.engine import EngineClosed, OutcomeUnknown, Overloaded, StoreUnavailable
from technopay.engine.actors.actor import Actor
from technopay.engine.actors.directory import Directory
from technopay.engine.ports import Outcome

OK: Outcome[Any] = Outcome("ok")
LOST = OutcomeUnknown()


def make_directory(store: ScriptedStore, clock: ManualClock | None = None, **settings: Any) -> Directory:
    port: Any = store
    return Directory(port, clock or ManualClock(), quick_settings(**settings), "owner")


async def begin(*asked: Any) -> list[asyncio.Task[Any]]:
    """Start the calls, each in its own task, in this order."""
    tasks = [asyncio.ensure_future(each) for each in asked]
    await settle()
    return tasks


async def finish(store: ScriptedStore, tasks: list[asyncio.Task[Any]]) -> list[str]:
    """Complete commands until all callers have their outcomes; return the outcomes' codes."""
    while store.under_way:
        store.answer_all(OK)
        await settle()
    return [outcome.code for outcome in await asyncio.gather(*tasks)]


def live_actors() -> set[int]:
    gc.collect()
    return {id(found) for found in gc.get_objects() if isinstance(found, Actor)}


async def test_a_command_gets_its_outcome_or_raises_a_fault() -> None:
    outcome: Outcome[Any] = Outcome("ok", token="7")
    assert await make_directory(ScriptedStore(outcome)).run("wal_1", make_command()) is outcome

    with pytest.raises(StoreUnavailable):
        await make_directory(ScriptedStore(StoreUnavailable())).run("wal_1", make_command())


async def test_a_wallet_is_no_task_and_an_idle_one_is_no_object() -> None:
    store = ScriptedStore()
    directory = make_directory(store)
    tasks, actors = asyncio.all_tasks(), live_actors()

    (caller,) = await begin(directory.run("wal_1", make_command()))
    assert directory.live_actors == 1
    assert asyncio.all_tasks() == {*tasks, caller}
    assert await finish(store, [caller]) == ["ok"]
    del caller
    store.sent.clear()  # it holds the callback of the outcome

    assert directory.live_actors == 0
    assert asyncio.all_tasks() == tasks
    assert live_actors() <= actors


async def test_passivation_loses_no_command() -> None:
    """Commands come at every moment around the one in which the actor becomes idle."""
    store = ScriptedStore(OK)
    directory = make_directory(store)
    names = [f"{number}" for number in range(500)]

    async def ask_later(name: str, ticks: int) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        await directory.run("wal_1", make_command(name))

    async with asyncio.timeout(5):
        await asyncio.gather(*(ask_later(name, number // 3) for number, name in enumerate(names)))

    assert store.names == names
    assert directory.live_actors == 0


@pytest.mark.parametrize("last", [OK, StoreUnavailable()], ids=["outcome", "fault"])
async def test_a_command_put_right_after_the_passivation_is_served(last: Any) -> None:
    """The caller sends the next command as soon as it has its outcome, before any other step."""
    store = ScriptedStore()
    directory = make_directory(store)

    async def run_twice() -> Outcome[Any]:
        await directory.run("wal_1", make_command("a"))
        return await directory.run("wal_1", make_command("c"))

    twice, other = await begin(run_twice(), directory.run("wal_1", make_command("b")))
    store.answer(Outcome("ok", token="7"))
    store.answer(last)
    assert directory.live_actors == 0
    await asyncio.wait([other])
    await settle()

    assert store.names == ["a", "b", "c"]
    assert store.sent[-1].lease.token == "", "the new actor knows nothing of the old one"
    assert await finish(store, [twice]) == ["ok"]
    assert directory.live_actors == 0


async def test_one_wallet_has_one_actor_and_several_have_several() -> None:
    store = ScriptedStore()
    directory = make_directory(store)
    tasks = await begin(
        directory.run("wal_1", make_command("first")),
        directory.run("wal_1", make_command("second")),
        directory.run("wal_2", make_command("other")),
    )

    assert directory.live_actors == 2
    assert store.names == ["first", "other"]
    assert directory.commands_waiting == 3
    assert await finish(store, tasks) == ["ok"] * 3
    assert store.names == ["first", "other", "second"]
    assert directory.commands_waiting == 0


async def test_one_command_too_many_for_a_wallet_is_refused_as_overloaded() -> None:
    store = ScriptedStore()
    directory = make_directory(store, mailbox_capacity=2)
    tasks = await begin(*(directory.run("wal_1", make_command()) for _ in range(3)))

    with pytest.raises(Overloaded):
        await directory.run("wal_1", make_command("one too many"))

    assert directory.commands_waiting == 3
    tasks += await begin(directory.run("wal_2", make_command("another wallet has its own mailbox")))
    assert await finish(store, tasks) == ["ok"] * 4
    assert store.runs("one too many") == 0


async def test_one_command_too_many_for_all_wallets_is_refused_as_overloaded() -> None:
    store = ScriptedStore()
    directory = make_directory(store, commands_waiting_max=2)
    tasks = await begin(directory.run("wal_1", make_command()), directory.run("wal_2", make_command()))

    with pytest.raises(Overloaded):
        await directory.run("wal_3", make_command())

    assert directory.live_actors == 2, "whoever is refused leaves nothing behind"
    assert await finish(store, tasks) == ["ok"] * 2
    assert await finish(store, await begin(directory.run("wal_3", make_command()))) == ["ok"]


async def test_callers_that_leave_make_room() -> None:
    store = ScriptedStore()
    directory = make_directory(store, commands_waiting_max=1)
    (task,) = await begin(directory.run("wal_1", make_command()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert directory.commands_waiting == 0
    tasks = await begin(directory.run("wal_2", make_command()))
    assert await finish(store, tasks) == ["ok"]
    assert directory.live_actors == 0


async def test_a_command_has_to_begin_within_the_deadline_of_the_settings() -> None:
    clock, store = ManualClock(), ScriptedStore()
    directory = make_directory(store, clock, command_deadline_s=2.0)
    tasks = await begin(directory.run("wal_1", make_command("first")))
    early = await begin(directory.run("wal_1", make_command("early")))
    clock.now += 0.001
    tasks += await begin(directory.run("wal_1", make_command("late")))
    clock.now += 1.999

    assert await finish(store, tasks) == ["ok", "ok"]

    with pytest.raises(Overloaded):
        await early[0]
    assert store.names == ["first", "late"]


async def test_a_drain_finishes_what_was_accepted_and_refuses_what_comes() -> None:
    store = ScriptedStore()
    directory = make_directory(store)
    tasks = await begin(*(directory.run("wal_1", make_command(name)) for name in "abc"))
    drain = await begin(directory.drain(60))

    with pytest.raises(EngineClosed):
        await directory.run("wal_1", make_command("too late"))
    assert not drain[0].done()

    assert await finish(store, tasks) == ["ok"] * 3
    async with asyncio.timeout(5):
        await drain[0]
        await directory.drain(60)  # it returns at once
    assert store.names == [*"abc"]
    assert directory.live_actors == 0


async def test_a_drain_waits_for_a_command_that_has_to_be_sent_again() -> None:
    store = ScriptedStore()
    directory = make_directory(store)
    tasks = await begin(directory.run("wal_1", make_command()), directory.run("wal_2", make_command()))
    drain = await begin(directory.drain(60))

    store.answer(OK, LOST)
    await settle()
    assert not drain[0].done()

    assert await finish(store, tasks) == ["ok", "ok"]
    async with asyncio.timeout(5):
        await drain[0]


async def test_a_drain_gives_up_what_takes_too_long() -> None:
    store = ScriptedStore()
    directory = make_directory(store)
    tasks = await begin(
        directory.run("wal_1", make_command("sent")),
        directory.run("wal_1", make_command("waiting")),
        directory.run("wal_2", make_command("sent, too")),
        directory.run("wal_3", make_command("in time")),
    )

    drain = await begin(directory.drain(0.01))
    store.under_way.pop().on_result(OK)
    await drain[0]
    sent, waiting, sent_too, in_time = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(sent, OutcomeUnknown)
    assert isinstance(waiting, EngineClosed)
    assert isinstance(sent_too, OutcomeUnknown)
    assert in_time is OK
    assert directory.live_actors == 0
    assert directory.commands_waiting == 0
