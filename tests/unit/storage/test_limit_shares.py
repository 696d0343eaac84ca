"""A payment that is refused for the limit has no share of it, not even for a moment."""

from __future__ import annotations

import asyncio

from support.fixtures.store_setup import Setup


async def test_what_does_not_fit_into_the_limit_does_not_stand_in_the_way_of_what_does(setup: Setup) -> None:
    too_much = await setup.started(await setup.wallet(), await setup.invoice(amount=1_500))
    fitting = await setup.started(await setup.wallet(), await setup.invoice(amount=1_000))
    await setup.set_limit("EUR", 1_000)

    outcomes = await asyncio.gather(setup.confirm(too_much), setup.confirm(fitting))

    assert [outcome.code for outcome in outcomes] == ["daily_limit_exceeded", "ok"]
    assert (await setup.limit()).used == 1_000
