"""The log of an outage of the store: one line at its start and one at its end, however many calls fail."""

import asyncio
import logging

import pytest
from support.fixtures.gated import GatedWorld

from technopay.engine import OutcomeUnknown, StoreUnavailable


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines about the store; a claim lost meanwhile has a line of its own."""
    about = ("technopay.storage", "technopay.engine.background")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in warnings if record.name.startswith(about)]


async def wait_for_lines(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    async with asyncio.timeout(30):
        while len(said(caplog)) < count:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.01)
    return said(caplog)


@pytest.mark.parametrize("outage", ["killed", "paused"])
async def test_an_outage_of_the_store_is_two_lines(
    world: GatedWorld, outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, is_killed = world.server, outage == "killed"
    await world.setup.pay()
    caplog.clear()
    (server.end if is_killed else server.pause)()
    await wait_for_lines(caplog, 1)
    for _ in range(3):
        calls = (world.engine.find_wallet(wallet_id=world.setup.wallet_id) for _ in range(50))
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, StoreUnavailable | OutcomeUnknown)
    (line,) = said(caplog)
    assert line.startswith("the store cannot be reached: ")
    assert str(server.socket) in line

    (server.start if is_killed else server.resume)()
    lines = await wait_for_lines(caplog, 2)
    assert lines[1].startswith("the store is back after ")
    await world.assert_goes_on()


async def test_a_right_that_is_taken_away_while_it_is_used_is_two_lines(
    world: GatedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    world.server.say("ACL", "SETUSER", "default", "-fcall")
    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            await world.engine.deposit(wallet_id=world.setup.wallet_id, amount=1)
    (line,) = await wait_for_lines(caplog, 1)
    assert line.startswith("the store refuses calls: NOPERM ")

    world.server.say("ACL", "SETUSER", "default", "+fcall")
    lines = await wait_for_lines(caplog, 2)
    assert lines[1].startswith("the store takes calls again after ")
