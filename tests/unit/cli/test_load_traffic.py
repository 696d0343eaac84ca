"""The traffic of a run: the begin of each purchase, the counts of their ends, and the end of the run."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.fixtures.load import (
    ScriptedClient,
    ScriptedOperator,
    leap,
    leaping,
    limit_json,
    load_fixtures,
    make_plan,
)

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
    """Make a flow with a duration."""

    async def flow(purchase: Purchase) -> Reply:
        await asyncio.sleep(duration_s)
        return PAID

    return flow


class Run:
    """A run of one flow, with its figures."""

    def __init__(self, flow: Flow, *, tightens_limit: bool = False, **plan: Any) -> None:
        self.recorder = Recorder()
        self.stopped = asyncio.Event()
        self.fixtures = load_fixtures(self.recorder)
        scenario = Scenario({flow: 1}, tightens_limit=tightens_limit)
        self.traffic = Traffic(make_plan(**plan), scenario, self.fixtures, self.recorder, self.stopped)
        self.tally = self.traffic.tallies[flow]
        self.took_s = 0.0
        self.latencies_s: list[float] = []
        record = self.recorder.purchase

        def purchase(status: int, code: str, latency_s: float | None) -> None:
            self.latencies_s += [] if latency_s is None else [latency_s]
            record(status, code, latency_s)

        self.recorder.purchase = purchase  # type: ignore[method-assign]

    async def play(self, stop_after_s: float | None = None) -> "Run":
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


@pytest.mark.parametrize(
    ("concurrency", "latencies_s", "never_begun"),
    [(1, [0.5, 0.9, 1.3, 1.7, 2.1, 2.5], 24), (100, [0.5] * 30, 0)],
    ids=["a slow server", "a fast one"],
)
def test_at_a_rate_a_latency_counts_from_when_the_purchase_was_due(
    concurrency: int, latencies_s: list[float], never_begun: int
) -> None:
    run = played(lasting(0.5), rate_per_s=10.0, concurrency=concurrency, duration_s=2.95)

    assert run.latencies_s == pytest.approx(latencies_s)
    assert run.traffic.never_begun == never_begun, "of thirty that were due in three seconds"


@pytest.mark.parametrize("rate_per_s", [None, 1_000.0])
@leaping
async def test_as_many_are_under_way_as_planned_while_there_are_some_to_begin(rate_per_s: float | None) -> None:
    seen: list[int] = []

    async def flow(purchase: Purchase) -> Reply:
        await asyncio.sleep(0.25)
        seen.append(run.traffic.under_way)
        return PAID

    run = Run(flow, rate_per_s=rate_per_s, concurrency=4)
    await run.play()

    assert run.tally.begun == run.tally.ended == len(seen)
    assert set(seen[:-4]) == {4}
    assert len(seen) == pytest.approx(3 / 0.25 * 4, abs=4)


@pytest.mark.parametrize("later", range(12))
def test_an_end_in_the_last_moment_is_counted(later: int) -> None:
    async def flow(purchase: Purchase) -> Reply:
        await asyncio.sleep(3)
        for _ in range(later):
            await asyncio.sleep(0)
        return PAID

    run = played(flow, concurrency=1, duration_s=3.0)

    assert run.tally.ended == run.tally.begun


@pytest.mark.parametrize(
    ("lasts_s", "stop_after_s", "counts", "ran_s", "took_s", "ended_early"),
    [
        (2.0, None, (8, 8), 3, 4, False),
        (1_000.0, None, (4, 0), 3, 3 + FINISH_S, False),
        (1_000.0, 1.0, (4, 0), 1, 1 + FINISH_EARLY_S, True),
        (1_000.0, 5.0, (4, 0), 3, 5 + FINISH_EARLY_S, False),
    ],
    ids=["finished", "cut off", "stopped early", "stopped while finishing"],
)
def test_purchases_under_way_at_the_end_may_finish_in_bounded_time(
    lasts_s: float, stop_after_s: float | None, counts: tuple[int, int],
    ran_s: float, took_s: float, ended_early: bool,
) -> None:  # fmt: skip
    run = played(lasting(lasts_s), stop_after_s, concurrency=4)

    assert (run.tally.begun, run.tally.ended) == counts
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([ran_s, took_s])
    assert run.traffic.ended_early is ended_early
    assert run.recorder.in_time[PURCHASE] == counts[1] // 2, "rates count only ends in time"


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


@leaping
async def test_an_unexpected_result_that_breaks_an_invariant_is_kept_for_the_verdict() -> None:
    async def flow(purchase: Purchase) -> Reply:
        raise UnexpectedResult("200 succeeded", PAID, invariant="refused_is_refused")

    run = Run(flow, rate_per_s=1.0, duration_s=0.95)
    run.fixtures.timed = ScriptedClient(lambda _: PAID)
    await run.play()
    assert list(run.fixtures.timed.acknowledgements.violations) == [
        "refused_is_refused: flow got 200 succeeded"
    ]


def test_a_rejected_client_pauses_outside_its_latency() -> None:
    run = played(rejected, concurrency=2, duration_s=0.95)

    assert run.tally.turned_away == 2 * 10
    assert max(run.latencies_s) == 0.0


def test_a_slow_flow_has_no_latency_and_a_run_is_divided_into_seconds() -> None:
    async def slow(purchase: Purchase) -> Reply:
        purchase.is_slow = True
        await asyncio.sleep(0.1)
        return PAID

    run = played(slow, rate_per_s=4.0, duration_s=2.45)

    assert (run.recorder.paid, run.latencies_s) == (10, [])
    assert [second.purchases for second in run.recorder.seconds] == [4, 4, 2]


@leaping
async def test_poor_and_blocked_users_run_their_flow_and_no_other() -> None:
    fixtures = load_fixtures(users=("alice", "poor", "blocked"))
    everybody = list(fixtures.users)
    fixtures.users, fixtures.poor, fixtures.blocked = ([each] for each in everybody)
    traffic = Traffic(make_plan(), SCENARIOS[ScenarioName.MIXED], fixtures, Recorder(), asyncio.Event())

    groups: dict[Flow, Any] = {too_poor: fixtures.poor, blocked: fixtures.blocked}
    assert len(traffic.tallies) > 2
    for flow in traffic.tallies:
        assert traffic._users(flow) == groups.get(flow, fixtures.users)


def tightened(read: Callable[[], dict[str, Any] | None]) -> list[int]:
    """Run a flow with a limit in the server's replies; return the amounts to which it was set."""
    operator: Any = ScriptedOperator(read)

    @leaping
    async def run_flow() -> None:
        run = Run(lasting(0.0), tightens_limit=True, rate_per_s=10.0, duration_s=9.95)
        run.fixtures.operator = operator
        await run.play()

    run_flow()
    return list(operator.amounts)


def overloaded() -> None:
    raise Overloaded


@pytest.mark.parametrize(
    ("read", "amounts"),
    [
        # 40 purchases in 4 seconds: the rest is for 20 more, and half of one.
        (lambda: limit_json(used=7_000), [7_000 + 20 * 100 + 50]),
        (overloaded, []),
        (lambda: limit_json(currency="EUR"), []),
    ],
    ids=["known", "overloaded", "unknown"],
)
def test_a_known_limit_is_set_once_so_that_it_runs_out_on_the_way(
    read: Callable[[], dict[str, Any] | None], amounts: list[int]
) -> None:
    assert tightened(read) == amounts


def test_a_failure_beside_the_purchases_is_raised_in_the_end() -> None:
    with pytest.raises(ZeroDivisionError):
        tightened(lambda: {"used": 1 // 0})


def test_the_same_plan_has_the_same_purchases_in_the_same_order() -> None:
    names: list[str] = []

    def named(name: str) -> Flow:
        async def flow(purchase: Purchase) -> Reply:
            names.append(name)
            return PAID

        return flow

    @leaping
    async def run_plan() -> None:
        scenario, recorder = Scenario({named("often"): 9, named("seldom"): 1}), Recorder()
        plan = make_plan(rate_per_s=50.0)
        await Traffic(plan, scenario, load_fixtures(recorder), recorder, asyncio.Event()).run()

    run_plan()
    first = names.copy()
    names.clear()
    run_plan()
    assert names == first
    assert set(first) == {"often", "seldom"}
    assert first.count("often") > 100
