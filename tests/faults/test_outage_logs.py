"""A store that is gone is one line in the log, and one more when it is back, however many calls fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from support.fixtures.gated import gated_world
from support.servers.own_server import OwnServer, own_server

from technopay.engine import OutcomeUnknown, StoreUnavailable
from technopay.storage import store as module


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnServer]:
    monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.1)
    with own_server(request.param) as server:
        yield server


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Answer the lines about the store; a claim that was lost meanwhile is a line of its own."""
    about = ("technopay.storage", "technopay.engine.background")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in warnings if record.name.startswith(about)]


async def wait_for_lines(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    async with asyncio.timeout(30):
        while len(said(caplog)) < count:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.01)
    return said(caplog)


@pytest.mark.parametrize("kind", ["killed", "paused"])
async def test_a_store_that_goes_and_comes_back_is_two_lines(
    server: OwnServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with gated_world(server) as world:
        await world.setup.pay()
        caplog.clear()
        if kind == "killed":
            server.end()
        else:
            server.pause()
        await wait_for_lines(caplog, 1)
        for _ in range(3):
            calls = (world.engine.find_wallet(wallet_id=world.setup.wallet_id) for _ in range(50))
            for answer in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(answer, StoreUnavailable | OutcomeUnknown)
        (line,) = said(caplog)
        assert line.startswith("the store cannot be reached: ")
        assert str(server.socket) in line

        if kind == "killed":
            server.start()
        else:
            server.resume()
        lines = await wait_for_lines(caplog, 2)
        assert lines[1].startswith("the store is back after ")
        await world.assert_goes_on()


async def test_a_right_that_is_taken_away_while_it_is_used_is_one_line(
    server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with gated_world(server) as world:
        caplog.clear()
        server.say("ACL", "SETUSER", "default", "-fcall")
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await world.engine.deposit(wallet_id=world.setup.wallet_id, amount=1)
        (line,) = await wait_for_lines(caplog, 1)
        assert line.startswith("the store refuses calls: NOPERM ")

        server.say("ACL", "SETUSER", "default", "+fcall")
        lines = await wait_for_lines(caplog, 2)
        assert lines[1].startswith("the store takes calls again after ")
