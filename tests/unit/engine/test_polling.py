"""The partitions that an engine polls: its own often, others rarely or never, and those with news at once."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from support.fixtures.doubles import ManualClock

from technopay.engine import background
from technopay.engine.commands import AnnounceEngine, Command
from technopay.engine.errors import StoreUnavailable
from technopay.engine.polling import IDLE_POLLS_PER_S_MAX, RUNNER_UP_INTERVAL_S, PartitionOwners, Polls
from technopay.engine.ports import Outcome
from technopay.engine.webhooks.deliveries import SenderIntervals

INTERVAL_S = 0.5


class Engines:
    """The part of a store that owners need: the engines that have announced themselves."""

    def __init__(self, partitions: int) -> None:
        self.partitions = range(partitions)
        self.names: list[str] = []

    async def run(self, command: Command[Any]) -> Outcome[Any]:
        assert isinstance(command, AnnounceEngine)
        self.names = [name for name in self.names if name != command.name] + [command.name] * command.stays
        return Outcome("ok", list(self.names))


def owners_of(store: Engines, name: str) -> PartitionOwners:
    kept: Any = store
    return PartitionOwners(kept, name)


async def test_each_partition_has_one_owner_and_one_runner_up() -> None:
    store = Engines(256)
    engines = [owners_of(store, f"eng_{number}") for number in range(4)]
    for _ in range(2):
        for each in engines:
            await each.announce()
    for partition in store.partitions:
        assert sorted(each.rank(partition) for each in engines) == [0, 1, 2, 2]
    assert sum(each.owned for each in engines) == 256
    assert min(each.owned for each in engines) > 40, "the shares are about equal"

    ranks = {partition: [each.rank(partition) for each in engines] for partition in store.partitions}
    await engines[3].leave()
    for each in engines[:3]:
        await each.announce()
    for partition, before in ranks.items():
        after = [each.rank(partition) for each in engines[:3]]
        if before[3]:
            assert after.index(0) == before.index(0), "only partitions of the one that left change their owner"
        else:
            assert after.index(0) == before.index(1), "the runner-up takes its place"


def polls_of(store: Engines, owners: PartitionOwners, clock: ManualClock, step: Any = None) -> tuple[Any, Any]:
    polled: Counter[int] = Counter()

    async def count(partition: int) -> int:
        polled[partition] += 1
        return partition

    kept: Any = store
    return Polls("test", step or count, kept, owners, clock, INTERVAL_S), polled


async def test_an_owner_polls_at_the_interval_and_what_is_noted_when_it_is_due() -> None:
    store, clock = Engines(4), ManualClock()
    polls, polled = polls_of(store, owners_of(store, "alone"), clock)
    assert await polls.run() == {0: 0, 1: 1, 2: 2, 3: 3}
    assert await polls.run() == {}
    polls.note_due(1)
    polls.note_due(2, 0.25)
    polls.note_due(2, 0.3)
    assert await polls.run() == {1: 1}
    assert await polls.run() == {}
    for _ in range(20):
        clock.pass_time(INTERVAL_S / 4)
        await polls.run()
    assert all(6 <= count <= 8 for count in polled.values()), polled


async def test_the_runner_up_polls_rarely_and_others_only_what_they_noted() -> None:
    store, clock = Engines(32), ManualClock()
    owners = [owners_of(store, f"eng_{number}") for number in range(3)]
    for _ in range(2):
        for each in owners:
            await each.announce()
    polls, polled = polls_of(store, owners[0], clock)
    seconds = 3 * RUNNER_UP_INTERVAL_S
    for _ in range(round(seconds / INTERVAL_S)):
        await polls.run()
        clock.pass_time(INTERVAL_S)
    by_rank = {
        rank: {polled[each] for each in store.partitions if owners[0].rank(each) == rank} for rank in range(3)
    }
    assert min(by_rank[0]) > 50
    assert by_rank[1] <= {3, 4}
    assert by_rank[2] == {1}, "only before it knew the others"
    other = next(each for each in store.partitions if owners[0].rank(each) == 2)
    polls.note_due(other)
    assert other in await polls.run()


async def test_the_rate_of_idle_polls_is_bounded() -> None:
    store, clock = Engines(256), ManualClock()
    polls, polled = polls_of(store, owners_of(store, "alone"), clock)
    await polls.run()
    polled.clear()
    for _ in range(40):
        clock.pass_time(INTERVAL_S)
        await polls.run()
    assert abs(polled.total() / 20 - IDLE_POLLS_PER_S_MAX) < IDLE_POLLS_PER_S_MAX / 10
    assert min(polled.values()) >= 4, "none is left out"


async def test_a_slow_partition_is_not_begun_twice_and_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "PATIENCE_S", 0.01)
    store, clock, gate = Engines(3), ManualClock(), asyncio.Event()
    begun: Counter[int] = Counter()

    async def step(partition: int) -> str:
        begun[partition] += 1
        if partition == 1:
            await gate.wait()
        if partition == 2:
            raise StoreUnavailable
        return "done"

    polls, _ = polls_of(store, owners_of(store, "alone"), clock, step)
    assert await polls.run() == {0: "done"}
    for _ in range(3):
        clock.pass_time(INTERVAL_S)
        assert await polls.run() == {0: "done"}
    assert begun == {0: 4, 1: 1, 2: 4}
    gate.set()
    await asyncio.sleep(0)
    clock.pass_time(INTERVAL_S / 100)
    assert await polls.run() == {1: "done"}
    gate.clear()
    clock.pass_time(INTERVAL_S)
    await polls.run()
    await polls.stop(0.01)
    assert begun[1] == 2


async def test_of_one_partition_the_step_is_run_each_time_and_its_error_is_raised() -> None:
    store, clock = Engines(1), ManualClock()
    polls, polled = polls_of(store, owners_of(store, "alone"), clock)
    for _ in range(3):
        assert await polls.run() == {0: 0}
    assert polled == {0: 3}

    async def fail(_: int) -> None:
        raise StoreUnavailable

    failing, _ = polls_of(store, owners_of(store, "alone"), clock, fail)
    with pytest.raises(StoreUnavailable):
        await failing.run()
    owners = owners_of(store, "alone")
    await owners.announce()
    await owners.leave()
    assert store.names == [], "one partition needs no owner"


async def test_a_step_that_fails_again_and_again_is_logged_once_and_its_end_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING")
    store, clock, broken = Engines(3), ManualClock(), True

    async def step(partition: int) -> str:
        if broken:
            raise ValueError("broken")
        return "done"

    polls, _ = polls_of(store, owners_of(store, "alone"), clock, step)
    for _ in range(5):
        assert await polls.run() == {}
        clock.pass_time(INTERVAL_S)
    [record] = caplog.records
    assert "test fails and goes on: partition 00: ValueError('broken')" in record.getMessage()
    assert record.exc_info is not None
    broken = False
    assert len(await polls.run()) == 3
    assert [each.getMessage() for each in caplog.records[1:]] == ["test works again after 0 s"]


async def test_an_engine_with_a_sender_polls_for_deliveries_everywhere() -> None:
    store = Engines(64)
    engines = [owners_of(store, f"eng_{number}") for number in range(4)]
    for _ in range(2):
        for each in engines:
            await each.announce()
    intervals = SenderIntervals(engines[0])
    others = [partition for partition in store.partitions if engines[0].rank(partition) == 2]
    assert others
    assert {intervals.poll_interval_s(each, INTERVAL_S) for each in others} == {RUNNER_UP_INTERVAL_S}
    own = next(each for each in store.partitions if engines[0].rank(each) == 0)
    assert intervals.poll_interval_s(own, INTERVAL_S) == engines[0].poll_interval_s(own, INTERVAL_S)
