"""A store that is down, killed, paused or busy: results come in bounded time; each effect happens once."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from support.fixtures.engine_setup import wait_for
from support.fixtures.gated import GatedWorld

from technopay.engine import OutcomeUnknown, Overloaded, StoreUnavailable, Wallet
from technopay.storage.redis_keys import Keys

AMOUNT = 7
CALLS = 20
FAULTS = {StoreUnavailable, OutcomeUnknown, Overloaded}
DEADLINE_S = 1.0
ANSWER_S_MAX = 10.0
"""A command has a deadline, and is resent after a lost reply until then."""


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Shorten the retries."""
    monkeypatch.setattr("technopay.storage.partition.RETRY_S_MAX", DEADLINE_S)
    monkeypatch.setattr("technopay.engine.actors.actor.RESEND_S_MAX", DEADLINE_S)
    return {"command_deadline_s": DEADLINE_S}


async def deposit_all(world: GatedWorld) -> list[Any]:
    """Make many deposits at once, each under its own key; return the result of each."""
    deposits = (
        world.engine.deposit(
            wallet_id=world.setup.wallet_id, amount=AMOUNT, idempotency_key=f"deposit {number}"
        )
        for number in range(CALLS)
    )
    async with asyncio.timeout(ANSWER_S_MAX):
        return await asyncio.gather(*deposits, return_exceptions=True)


async def assert_each_deposit_happens_once(world: GatedWorld, before: int) -> None:
    """Repeat the same deposits on the recovered store: all are acknowledged, each was made once."""
    results = await deposit_all(world)
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert await world.setup.balance() == before + CALLS * AMOUNT
    await world.assert_sound()


async def test_a_store_that_is_killed_under_way_loses_no_answer_and_repeats_nothing(world: GatedWorld) -> None:
    before = await world.setup.balance()
    calls = asyncio.create_task(deposit_all(world))
    await asyncio.sleep(0.002)
    world.server.end()
    world.server.start()
    results = await calls
    assert {type(result) for result in results} <= {*FAULTS, Wallet}
    await wait_for(world.is_ready)
    balance = await world.setup.balance()
    acknowledged = sum(not isinstance(result, BaseException) for result in results)
    undecided = sum(isinstance(result, OutcomeUnknown) for result in results)
    assert before + acknowledged * AMOUNT <= balance <= before + (acknowledged + undecided) * AMOUNT
    await assert_each_deposit_happens_once(world, before)


async def test_a_store_that_is_paused_leaves_no_call_waiting_and_makes_nothing_twice(world: GatedWorld) -> None:
    payment, before = await world.setup.start(), await world.setup.balance()
    code = await world.setup.right_code(payment)
    world.server.pause()
    try:
        results = await asyncio.gather(
            deposit_all(world), world.setup.confirm(payment, code, wait_s=0), return_exceptions=True
        )
        assert isinstance(results[0], list)
        faults = [*results[0], results[1]]
        assert {type(each) for each in faults} <= FAULTS
        assert any(isinstance(each, OutcomeUnknown) for each in faults), "some were sent"
        assert not await world.is_ready()
    finally:
        world.server.resume()
    await wait_for(world.is_ready)
    await assert_each_deposit_happens_once(
        world, before - (payment.amount if await is_taken(world, payment.id) else 0)
    )
    await world.setup.confirm(payment, code, wait_s=0)
    # If the reply that the money was taken is lost, no engine settles: the claim has to run out.
    world.server.say("ZADD", Keys().key("agenda"), "XX", 0, payment.id)
    await wait_for(lambda: is_settled(world, payment.id))
    assert await world.setup.balance() == before + CALLS * AMOUNT - payment.amount
    await world.assert_sound()


async def is_taken(world: GatedWorld, payment_id: str) -> bool:
    return (await world.engine.find_payment(payment_id=payment_id)).status != "requires_confirmation"


async def is_settled(world: GatedWorld, payment_id: str) -> bool:
    return (await world.engine.find_payment(payment_id=payment_id)).status == "succeeded"


@contextmanager
def busy_server(url: str) -> Iterator[None]:
    """Keep a server busy with another client's endless script that only reads."""

    def run() -> None:
        with Redis.from_url(url) as client, pytest.raises(RedisError, match="Script killed by user"):
            client.eval("while true do redis.call('GET', 'nothing') end", 0)

    running = threading.Thread(target=run)
    running.start()
    with Redis.from_url(url) as client:
        _wait_until_busy(client)
        try:
            yield
        finally:
            client.script_kill()
            running.join(20)
            assert not running.is_alive()


def _wait_until_busy(client: Any) -> None:
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        try:
            client.ping()
        except RedisError as error:
            assert "BUSY" in str(error)  # noqa: PT017 - it is the expected error
            return
        time.sleep(0.01)
    raise AssertionError("the server is not busy")


@asynccontextmanager
async def gone(world: GatedWorld) -> AsyncIterator[None]:
    world.server.end()
    await wait_for(world.is_cut)
    yield
    world.server.start()


@asynccontextmanager
async def busy(world: GatedWorld) -> AsyncIterator[None]:
    with busy_server(world.server.url):
        yield


@pytest.mark.parametrize("outage", [gone, busy])
async def test_a_store_that_is_gone_or_busy_is_unavailable_and_is_used_again_by_itself(
    world: GatedWorld, outage: Callable[[GatedWorld], AbstractAsyncContextManager[None]]
) -> None:
    payment, before = await world.setup.start(), await world.setup.balance()
    async with outage(world):
        confirmed = await asyncio.gather(world.setup.confirm(payment), return_exceptions=True)
        results = [*confirmed, *await deposit_all(world)]
        assert [type(result) for result in results] == [StoreUnavailable] * len(results)
        assert await world.refused() == "", "an outage does not make a store unfit"
        assert not await world.is_ready()
    await wait_for(world.is_ready)
    assert await world.setup.balance() == before, "nothing happened"
    await assert_each_deposit_happens_once(world, before)
    await world.assert_goes_on(payment)
