"""The traffic of a run, on a loop that leaps: when purchases begin, how they are counted, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.load import ToldWire, leap, limit_json, make_plan, make_scene

from technopay.cli.load.plan import ScenarioName
from technopay.cli.load.purchase import Purchase, SurpriseError, TurnedAwayError
from technopay.cli.load.recorder import PURCHASE, Recorder
from technopay.cli.load.scenarios import SCENARIOS, Scenario
from technopay.cli.load.stories import Story, blocked, too_poor
from technopay.cli.load.traffic import FINISH_EARLY_S, FINISH_S, Traffic
from technopay.cli.load.wire import Reply

PAID = Reply(200, "succeeded", {})


def lasting(duration_s: float) -> Story:
    """Make a story that takes its time."""

    async def story(buy: Purchase) -> Reply:
        await asyncio.sleep(duration_s)
        return PAID

    return story


class Run:
    """A run of one story, with what came of it."""

    def __init__(self, story: Story, *, tightens_limit: bool = False, **plan: Any) -> None:
        self.recorder = Recorder()
        self.stopped = asyncio.Event()
        self.scene = make_scene(self.recorder)
        scenario = Scenario(ScenarioName.MIXED, {story: 1}, tightens_limit=tightens_limit)
        self.traffic = Traffic(make_plan(**plan), scenario, self.scene, self.recorder, self.stopped)
        self.tally = self.traffic.tallies[story]
        self.took_s = 0.0

    @property
    def latencies_s(self) -> list[float]:
        """All of purchases, whatever came of them."""
        kept = (each for (name, *_), each in self.recorder.latencies_s.items() if name == PURCHASE)
        return [latency_s for latencies_s in kept for latency_s in latencies_s]

    async def play(self, stop_after_s: float | None = None) -> Run:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if stop_after_s is not None:
            loop.call_later(stop_after_s, self.stopped.set)
        await self.traffic.run()
        self.took_s = loop.time() - began_s
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return self


def played(story: Story, stop_after_s: float | None = None, **plan: Any) -> Run:
    async def main() -> Run:
        return await Run(story, **plan).play(stop_after_s)

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
        async def story(buy: Purchase) -> Reply:
            await asyncio.sleep(0.25)
            seen.append(run.traffic.under_way)
            return PAID

        run = Run(story, rate_per_s=rate_per_s, concurrency=4)
        await run.play()
        assert run.tally.begun == run.tally.ended == len(seen)

    leap(main())

    assert set(seen[:-4]) == {4}
    assert len(seen) == pytest.approx(3 / 0.25 * 4, abs=4)


def test_what_is_under_way_when_the_time_is_over_may_finish() -> None:
    run = played(lasting(2.0), concurrency=1)

    assert (run.tally.begun, run.tally.ended) == (2, 2)
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([3, 4])
    assert not run.traffic.ended_early


@pytest.mark.parametrize("later", range(12))
def test_what_ends_in_the_moment_when_the_time_is_over_is_no_trouble(later: int) -> None:
    async def story(buy: Purchase) -> Reply:
        await asyncio.sleep(3)
        for _ in range(later):
            await asyncio.sleep(0)
        return PAID

    run = played(story, concurrency=1, duration_s=3.0)

    assert run.tally.ended == run.tally.begun


def test_what_never_ends_is_cut_off() -> None:
    run = played(lasting(1_000.0), concurrency=4)

    assert (run.tally.begun, run.tally.ended) == (4, 0)
    assert run.took_s == pytest.approx(3 + FINISH_S)


def test_a_run_that_is_stopped_ends_early_and_waits_less_for_what_is_under_way() -> None:
    run = played(lasting(1_000.0), stop_after_s=1.0, concurrency=4)

    assert run.traffic.ended_early
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([1, 1 + FINISH_EARLY_S])


def test_to_stop_a_run_that_is_finishing_shortens_it_and_it_was_whole_all_the_same() -> None:
    run = played(lasting(1_000.0), stop_after_s=5.0)

    assert not run.traffic.ended_early
    assert [run.traffic.ran_s, run.took_s] == pytest.approx([3, 5 + FINISH_EARLY_S])


def test_rates_are_made_of_what_ended_in_time() -> None:
    run = played(lasting(2.0), concurrency=4)

    assert (run.recorder.paid, run.recorder.in_time[PURCHASE]) == (8, 4)


async def turned_away(buy: Purchase) -> Reply:
    raise TurnedAwayError(Reply(503, "overloaded", {}))


async def surprised(buy: Purchase) -> Reply:
    raise SurpriseError("two answers with different id", Reply(200, "failed", {}))


async def puzzled(buy: Purchase) -> Reply:
    raise KeyError("id")


@pytest.mark.parametrize(
    ("story", "counts", "surprises", "outcome"),
    [
        (turned_away, (3, 0, 3), {}, (503, "overloaded")),
        (surprised, (3, 0, 0), {"two answers with different id": 3}, (200, "failed")),
        (puzzled, (3, 0, 0), {"an answer was not understood: KeyError('id')": 3}, (0, "not_understood")),
        (lasting(0.0), (3, 3, 0), {}, (200, "succeeded")),
    ],
    ids=["turned away", "surprised", "puzzled", "as expected"],
)
def test_every_end_is_counted_as_what_it_is(
    story: Story, counts: tuple[int, int, int], surprises: dict[str, int], outcome: tuple[int, str]
) -> None:
    run = played(story, rate_per_s=1.0, duration_s=2.95)

    assert (run.tally.ended, run.tally.as_expected, run.tally.turned_away) == counts
    assert run.tally.surprises == surprises
    assert run.recorder.outcomes == {(PURCHASE, *outcome): 3}


def test_a_surprise_that_breaks_an_invariant_is_kept_for_the_verdict() -> None:
    async def main() -> None:
        async def story(buy: Purchase) -> Reply:
            raise SurpriseError("200 succeeded", PAID, invariant="refused_is_refused")

        run = Run(story, rate_per_s=1.0, duration_s=0.95)
        run.scene.wire = ToldWire(lambda _: PAID)
        await run.play()
        assert list(run.scene.wire.journal.broken) == ["refused_is_refused: story was answered 200 succeeded"]

    leap(main())


def test_who_is_turned_away_does_not_come_back_at_once() -> None:
    run = played(turned_away, concurrency=2, duration_s=0.95)

    assert run.tally.turned_away == 2 * 10
    assert max(run.latencies_s) == 0.0, "the pause is no part of it"


def test_a_story_that_takes_its_time_on_purpose_has_no_latency() -> None:
    async def slow(buy: Purchase) -> Reply:
        buy.is_slow = True
        return PAID

    run = played(slow, rate_per_s=1.0, duration_s=2.95)

    assert (run.recorder.paid, list(run.latencies_s)) == (3, [])


def test_a_run_is_divided_into_seconds() -> None:
    run = played(lasting(0.1), rate_per_s=4.0, duration_s=2.45)

    assert [second.purchases for second in run.recorder.seconds] == [4, 4, 2]


def test_who_is_poor_or_blocked_plays_that_and_nothing_else() -> None:
    async def main() -> None:
        scene = make_scene(users=("alice", "poor", "blocked"))
        everybody = list(scene.shoppers)
        scene.shoppers, scene.poor, scene.blocked = ([each] for each in everybody)
        traffic = Traffic(make_plan(), SCENARIOS[ScenarioName.MIXED], scene, Recorder(), asyncio.Event())

        assert traffic._shoppers(too_poor) == scene.poor
        assert traffic._shoppers(blocked) == scene.blocked
        others = [story for story in traffic.tallies if story not in (too_poor, blocked)]
        assert all(traffic._shoppers(story) == scene.shoppers for story in others)

    leap(main())


def tightened(told: Reply) -> list[Any]:
    """Play a run that tightens the limit, of which a server tells; answer to what it was set."""

    async def main() -> list[Any]:
        run = Run(lasting(0.0), tightens_limit=True, rate_per_s=10.0, duration_s=9.95)
        wire = run.scene.wire = ToldWire(lambda path: told)
        await run.play()
        return [body["amount"] for body in wire.bodies]

    return leap(main())


def test_a_limit_is_set_once_so_that_it_runs_out_on_the_way() -> None:
    (limit,) = tightened(Reply(200, "ok", {"data": [limit_json(used=7_000)]}))

    # 40 purchases in 4 seconds: what is left is for 20 more, and half of one.
    assert limit == 7_000 + 20 * 100 + 50


@pytest.mark.parametrize(
    "told", [Reply(503, "overloaded", {}), Reply(200, "ok", {"data": [limit_json(currency="EUR")]})]
)
def test_a_limit_that_is_not_told_is_left_alone(told: Reply) -> None:
    assert tightened(told) == []


def test_what_goes_wrong_beside_the_purchases_is_raised_in_the_end() -> None:
    with pytest.raises(KeyError, match="currency"):
        tightened(Reply(200, "ok", {"data": [{}]}))


def test_the_same_plan_has_the_same_purchases_in_the_same_order() -> None:
    def dealt() -> list[str]:
        names: list[str] = []

        def named(name: str) -> Callable[[Purchase], Awaitable[Reply]]:
            async def story(buy: Purchase) -> Reply:
                names.append(name)
                return PAID

            return story

        async def main() -> None:
            scenario = Scenario(ScenarioName.MIXED, {named("often"): 9, named("seldom"): 1})
            recorder = Recorder()
            scene = make_scene(recorder)
            plan = make_plan(rate_per_s=50.0)
            await Traffic(plan, scenario, scene, recorder, asyncio.Event()).run()

        leap(main())
        return names

    first = dealt()
    assert first == dealt()
    assert set(first) == {"often", "seldom"}
    assert first.count("often") > 100
