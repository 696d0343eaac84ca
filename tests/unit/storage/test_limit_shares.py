"""A payment that is refused for the limit has no share of it, not even for a moment."""

from __future__ import annotations

import asyncio

from support.scene import Scene


async def test_what_does_not_fit_into_the_limit_does_not_stand_in_the_way_of_what_does(scene: Scene) -> None:
    too_much = await scene.started(await scene.wallet(), await scene.invoice(amount=1_500))
    fitting = await scene.started(await scene.wallet(), await scene.invoice(amount=1_000))
    await scene.set_limit("EUR", 1_000)

    outcomes = await asyncio.gather(scene.confirm(too_much), scene.confirm(fitting))

    assert [outcome.code for outcome in outcomes] == ["daily_limit_exceeded", "ok"]
    assert (await scene.limit()).used == 1_000
