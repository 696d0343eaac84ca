"""The traffic of a run, on a loop that leaps: when purchases begin, how they are counted, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.fixtures.load import ScriptedClient, ScriptedOperator, leap, limit_json, load_fixtures, make_plan

from technopay.cli.load.flows import (
    SCENARIOS,
    Flow,
    Purchase,
    Rejected,
    Scenario,
    UnexpectedResult,
    blocked,
    too_poor,
)  # fmt: skip
from technopay.cli.load.plan import ScenarioName
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.result import PURCHASE
from technopay.cli.load.timed_client import Reply
from technopay.cli.load.traffic import FINISH_EARLY_S, FINISH_S, Traffic
from technopay.engine import Overloaded

PAID = Reply(200, "succeeded", {})


def lasting(duration_s: float) -> Flow:
    """Make a flow that takes its time."""

    async def flow(purchase: Purchase) -> Reply:
        await asyncio.sleep(duration_s)
        return PAID

    return flow


class Run:
    """A run of one flow, with what came of it."""

    def __init__(self, flow: Flow, *, tightens_limit: bool = False, **plan: Any) -> None:
        self.recorder = Recorder()
        self.stopped = asyncio.Event()
        self.fixtures = load_fixtures(self.recorder)
        scenario = Scenario({flow: 1}, tightens_limit=tightens_limit)
        self.traffic = Traffic(make_plan(**plan), scenario, self.fixtures, self.recorder, self.stopped)
        self.tally = self.traffic.tallies[flow]
        self.took_s = 0.0
        self._latencies_s: list[float] = []
        record = self.recorder.purchase

        def purchase(status: int, code: str, latency_s: float | None) -> None:
            self._latencies_s += [] if latency_s is None else [latency_s]
            record(status, code, latency_s)

        self.recorder.purchase = purchase  # type: ignore[method-assign]

    @property
    def latencies_s(self) -> list[float]:
        """The latencies of all purchases, in their order."""
        return self._latencies_s

    async def play(self, stop_after_s: float | None = None) -> Run:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if stop_after_s is not None:
            loop.call_later(stop_after_s, self.stopped.set)
        await self.traffic.run()
        self.took_s = loop.time() - began_s
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return self


def played(flow: Flow, stop_after_s: float | None = None, **plan: Any) -> Run:
    async def main() -> Run:
        return await Run(flow, **plan).play(stop_after_s)

    return leap(main())


def test_at_a_rate_a_latency_counts_from_when_the_purchase_was_due() -> None:
    run = played(lasting(0.5), rate_per_s=10.0, concurrency=1)

    assert list(run.latencies_s) == pytest.approx([0.5, 0.9, 1.3, 1.7, 2.1, 2.5])
    assert run.traffic.never_begun == 24, "of thirty that were due in three seconds"


def test_at_a_rate_a_server_that_is_fast_enough_gets_as_many_as_planned() -> None:
    run = played(lasting(0.5), rate_per_s=10.0, concurrency=100, duration_s=2.95)

    assert list(run.latencies_s) == pytest.approx([0.5] * 30)
    assert run.traffic.never_begun == 0


@pytest.mark.parametrize("rate_per_s", [None, 1_000.0])
def test_no_more_are_under_way_than_planned_and_never_fewer_while_there_are_some_to_begin(
    rate_per_s: float | None,
) -> None:
    seen: list[int] = []

    async def main() -> None:
        async def flow(purchase: Purchase) -> Reply:
            await asyncio.sleep(0.25)
            seen.append(run.traffic.under_way)
            return PAID

        run = Run(flow, rate_per_s=rate_per_s, concurrency=4)
        await run.play()
        assert run.tally.begun == run.tally.ended == len(seen)

    leap(main())

    assert set(seen[:-4]) == {4}
    assert len(seen) == pytest.approx(3 / 0.25 * 4, abs=4)


def test_purchases_under_way_at_the_end_may_finish() -> None:
    run = played(lasting(2.0), concurrency=1)

    assert (run.tally.begun, run.tally.ended) == (2, 2)
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([3, 4])
    assert not run.traffic.ended_early


@pytest.mark.parametrize("later", range(12))
def test_an_end_in_the_last_moment_is_no_trouble(later: int) -> None:
    async def flow(purchase: Purchase) -> Reply:
        await asyncio.sleep(3)
        for _ in range(later):
            await asyncio.sleep(0)
        return PAID

    run = played(flow, concurrency=1, duration_s=3.0)

    assert run.tally.ended == run.tally.begun


def test_a_purchase_that_never_ends_is_cut_off() -> None:
    run = played(lasting(1_000.0), concurrency=4)

    assert (run.tally.begun, run.tally.ended) == (4, 0)
    assert run.took_s == pytest.approx(3 + FINISH_S)


def test_a_stopped_run_ends_early_and_waits_less() -> None:
    run = played(lasting(1_000.0), stop_after_s=1.0, concurrency=4)

    assert run.traffic.ended_early
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([1, 1 + FINISH_EARLY_S])


def test_to_stop_a_finishing_run_shortens_it_and_it_is_still_whole() -> None:
    run = played(lasting(1_000.0), stop_after_s=5.0)

    assert not run.traffic.ended_early
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([3, 5 + FINISH_EARLY_S])


def test_rates_count_only_ends_in_time() -> None:
    run = played(lasting(2.0), concurrency=4)

    assert (run.recorder.paid, run.recorder.in_time[PURCHASE]) == (8, 4)


async def rejected(purchase: Purchase) -> Reply:
    raise Rejected(Reply(503, "overloaded", {}))


async def unexpected_result(purchase: Purchase) -> Reply:
    raise UnexpectedResult("two answers with different id", Reply(200, "failed", {}))


async def unreadable(purchase: Purchase) -> Reply:
    raise KeyError("id")


@pytest.mark.parametrize(
    ("flow", "counts", "unexpected", "outcome"),
    [
        (rejected, (3, 0, 3), {}, (503, "overloaded")),
        (unexpected_result, (3, 0, 0), {"two answers with different id": 3}, (200, "failed")),
        (unreadable, (3, 0, 0), {"a reply could not be read: KeyError('id')": 3}, (0, "not_understood")),
        (lasting(0.0), (3, 3, 0), {}, (200, "succeeded")),
    ],
    ids=["rejected", "unexpected", "unreadable", "as expected"],
)
def test_every_end_is_counted_by_its_kind(
    flow: Flow, counts: tuple[int, int, int], unexpected: dict[str, int], outcome: tuple[int, str]
) -> None:
    run = played(flow, rate_per_s=1.0, duration_s=2.95)

    assert (run.tally.ended, run.tally.as_expected, run.tally.turned_away) == counts
    assert run.tally.surprises == unexpected
    assert run.recorder.outcomes == {(PURCHASE, *outcome): 3}


def test_an_unexpected_result_that_breaks_an_invariant_is_kept_for_the_verdict() -> None:
    async def main() -> None:
        async def flow(purchase: Purchase) -> Reply:
            raise UnexpectedResult("200 succeeded", PAID, invariant="refused_is_refused")

        run = Run(flow, rate_per_s=1.0, duration_s=0.95)
        run.fixtures.timed = ScriptedClient(lambda _: PAID)
        await run.play()
        assert list(run.fixtures.timed.acknowledgements.violations) == [
            "refused_is_refused: flow got 200 succeeded"
        ]

    leap(main())


def test_a_rejected_client_does_not_come_back_at_once() -> None:
    run = played(rejected, concurrency=2, duration_s=0.95)

    assert run.tally.turned_away == 2 * 10
    assert max(run.latencies_s) == 0.0, "the pause is no part of it"


def test_a_slow_flow_has_no_latency() -> None:
    async def slow(purchase: Purchase) -> Reply:
        purchase.is_slow = True
        return PAID

    run = played(slow, rate_per_s=1.0, duration_s=2.95)

    assert (run.recorder.paid, list(run.latencies_s)) == (3, [])


def test_a_run_is_divided_into_seconds() -> None:
    run = played(lasting(0.1), rate_per_s=4.0, duration_s=2.45)

    assert [second.purchases for second in run.recorder.seconds] == [4, 4, 2]


def test_poor_and_blocked_users_run_their_flow_and_no_other() -> None:
    async def main() -> None:
        fixtures = load_fixtures(users=("alice", "poor", "blocked"))
        everybody = list(fixtures.users)
        fixtures.users, fixtures.poor, fixtures.blocked = ([each] for each in everybody)
        traffic = Traffic(make_plan(), SCENARIOS[ScenarioName.MIXED], fixtures, Recorder(), asyncio.Event())

        assert traffic._users(too_poor) == fixtures.poor
        assert traffic._users(blocked) == fixtures.blocked
        others = [flow for flow in traffic.tallies if flow not in (too_poor, blocked)]
        assert all(traffic._users(flow) == fixtures.users for flow in others)

    leap(main())


def tightened(read: Callable[[], dict[str, Any] | None]) -> list[int]:
    """Run a flow with a limit that a server returns; return the amounts to which it was set."""

    async def main() -> list[int]:
        run = Run(lasting(0.0), tightens_limit=True, rate_per_s=10.0, duration_s=9.95)
        operator: Any = ScriptedOperator(read)
        run.fixtures.operator = operator
        await run.play()
        return list(operator.amounts)

    return leap(main())


def overloaded() -> None:
    raise Overloaded


def test_a_limit_is_set_once_so_that_it_runs_out_on_the_way() -> None:
    # 40 purchases in 4 seconds: the rest is for 20 more, and half of one.
    assert tightened(lambda: limit_json(used=7_000)) == [7_000 + 20 * 100 + 50]


@pytest.mark.parametrize("read", [overloaded, lambda: limit_json(currency="EUR")])
def test_an_unknown_limit_is_left_alone(read: Callable[[], dict[str, Any] | None]) -> None:
    assert tightened(read) == []


def test_a_failure_beside_the_purchases_is_raised_in_the_end() -> None:
    with pytest.raises(ZeroDivisionError):
        tightened(lambda: {"used": 1 // 0})


def test_the_same_plan_has_the_same_purchases_in_the_same_order() -> None:
    def dealt() -> list[str]:
        names: list[str] = []

        def named(name: str) -> Callable[[Purchase], Awaitable[Reply]]:
            async def flow(purchase: Purchase) -> Reply:
                names.append(name)
                return PAID

            return flow

        async def main() -> None:
            scenario = Scenario({named("often"): 9, named("seldom"): 1})
            recorder = Recorder()
            fixtures = load_fixtures(recorder)
            plan = make_plan(rate_per_s=50.0)
            await Traffic(plan, scenario, fixtures, recorder, asyncio.Event()).run()

        leap(main())
        return names

    first = dealt()
    assert first == dealt()
    assert set(first) == {"often", "seldom"}
    assert first.count("often") > 100
