"""A store that is gone, paused, loading or busy: answers come in bounded time, and nothing happens twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from support.fixtures.engine_setup import wait_for
from support.fixtures.gated import GatedWorld
from support.fixtures.store_setup import operation
from support.proxies.faulty_proxy import answering_server

from technopay.engine import OutcomeUnknown, Overloaded, StoreUnavailable, Wallet
from technopay.engine.commands import SetLimit
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import SCHEMA
from technopay.storage.server.client import ServerClient

AMOUNT = 7
CALLS = 20
FAULTS = {StoreUnavailable, OutcomeUnknown, Overloaded}
DEADLINE_S = 1.0
ANSWER_S_MAX = 10.0
"""A command has its deadline, and a lost reply is asked for again until then."""


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Do not ask again for long."""
    monkeypatch.setattr("technopay.storage.partition.RETRY_S_MAX", DEADLINE_S)
    monkeypatch.setattr("technopay.engine.actors.actor.RESEND_S_MAX", DEADLINE_S)
    return {"command_deadline_s": DEADLINE_S}


async def deposit_all(world: GatedWorld, name: str = "deposit") -> list[Any]:
    """Put money in by many calls at once, each under its own key; answer what became of each."""
    deposits = (
        world.engine.deposit(
            wallet_id=world.setup.wallet_id, amount=AMOUNT, idempotency_key=f"the {name} number {number}"
        )
        for number in range(CALLS)
    )
    async with asyncio.timeout(ANSWER_S_MAX):
        return await asyncio.gather(*deposits, return_exceptions=True)


async def assert_each_deposit_happens_once(world: GatedWorld, before: int, name: str = "deposit") -> None:
    """Ask for the same deposits again, now that the store works: all are acknowledged, each was made once."""
    results = await deposit_all(world, name)
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert await world.setup.balance() == before + CALLS * AMOUNT
    await world.assert_sound()


async def test_a_store_that_is_gone_is_unavailable_and_is_used_again_by_itself(world: GatedWorld) -> None:
    payment, before = await world.setup.start(), await world.setup.balance()
    world.server.end()
    await wait_for(world.is_cut)
    results = [*await deposit_all(world), *await asyncio.gather(world.setup.pay(), return_exceptions=True)]
    assert [type(result) for result in results] == [StoreUnavailable] * len(results)
    world.server.start()
    await wait_for(world.is_ready)
    assert await world.setup.balance() == before, "nothing happened"
    await assert_each_deposit_happens_once(world, before)
    await world.assert_goes_on(payment)


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
    # If nobody heard that the money was taken, nobody settles: the claim has to run out.
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
    """Keep a server busy with another client's script that never ends and only reads."""

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
            assert "BUSY" in str(error)  # noqa: PT017 - it is what has to be seen
            return
        time.sleep(0.01)
    raise AssertionError("the server is not busy")


async def test_a_store_that_is_busy_with_a_script_of_others_is_unavailable_until_that_is_killed(
    world: GatedWorld,
) -> None:
    payment, before = await world.setup.start(), await world.setup.balance()
    with busy_server(world.server.url):
        confirmed = await asyncio.gather(world.setup.confirm(payment), return_exceptions=True)
        results = [*confirmed, *await deposit_all(world)]
        assert [type(result) for result in results] == [StoreUnavailable] * len(results)
        assert await world.refused() == "", "that it is busy says nothing about what it is"
        assert not await world.is_ready()
    await wait_for(world.is_ready)
    assert await world.setup.balance() == before, "nothing happened"
    await assert_each_deposit_happens_once(world, before)
    await world.assert_goes_on(payment)


async def test_functions_that_are_forgotten_again_and_again_disturb_nobody(world: GatedWorld) -> None:
    before, rounds = await world.setup.balance(), 15
    forgotten = 0

    async def forget() -> None:
        nonlocal forgotten
        while True:
            await asyncio.to_thread(world.server.say, "FUNCTION", "FLUSH")
            forgotten += 1

    forgetting = asyncio.create_task(forget())
    try:
        for number in range(rounds):
            results = await deposit_all(world, f"round {number}")
            assert [each for each in results if isinstance(each, BaseException)] == []
            paid = await world.setup.pay(await world.setup.invoice(amount=10))
            assert paid.status == "succeeded"
    finally:
        forgetting.cancel()
        await asyncio.wait([forgetting])
    assert forgotten >= rounds
    assert await world.setup.balance() == before + rounds * (CALLS * AMOUNT - 10)
    await world.assert_sound()


INFO = "redis_version:7.0.15\r\nrole:{role}\r\ncluster_enabled:0\r\n"
SETTINGS = ("appendonly", "yes", "appendfsync", "always", "no-appendfsync-on-rewrite", "no",
            "maxmemory-policy", "noeviction")  # fmt: skip
META = ("incarnation", "one", "schema", SCHEMA, "partitions", "1", "timezone", "UTC")
READ = b"*4\r\n$2\r\nok\r\n$1\r\n1\r\n$0\r\n\r\n"


def packed(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(bulk(word) for word in words)


def bulk(word: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(word), word.encode())


@asynccontextmanager
async def opened_on_a_scripted_server() -> AsyncIterator[tuple[RedisStore, dict[str, bytes]]]:
    """A store that was opened on a server whose answers a test can change."""
    replies = {
        "INFO": bulk(INFO.format(role="master")),
        "CONFIG": packed(*SETTINGS),
        "HGETALL": packed(*META),
        "XREVRANGE": b"*0\r\n",
        "XRANGE": b"*0\r\n",
        "FCALL": READ + packed(*META),
    }
    async with answering_server(replies) as url, RedisStore.connect(url) as store:
        yield store, replies


NOT_EXECUTED = (
    "LOADING server is loading the dataset in memory",
    "BUSY server is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "NOAUTH Authentication required.",
    "NOPERM User shy has no permissions to run the 'fcall' command",
    "MOVED 3999 127.0.0.1:6381",
)


@pytest.mark.parametrize("error", NOT_EXECUTED)
async def test_what_a_server_refuses_did_not_happen_and_is_taken_up_again(quick_look: None, error: str) -> None:
    async with opened_on_a_scripted_server() as (store, replies):
        await store.ping()
        good = dict(replies)
        for command in ("FCALL", "HGETALL", "XREVRANGE", "XRANGE"):
            replies[command] = f"-{error}\r\n".encode()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.run(SetLimit(operation(), "EUR", 1))
            # The next call needs a new connection, on which the store does not say what it is.
            link = store._partition.client
            assert isinstance(link, ServerClient)
            if link._connection is not None:
                link._connection.abort()
            await asyncio.sleep(0)
        replies |= good

        async def look() -> bool:
            try:
                await store.ping()
            except StoreUnavailable:
                return False
            return True

        await wait_for(look)


async def test_a_store_that_loads_for_long_is_unavailable_and_then_used(world: GatedWorld) -> None:
    payment, before = await world.setup.start(), await world.setup.balance()
    fill(world, commands=20_000)
    world.server.end()
    # A loading server answers after each 1,024 commands. It waits at each, 20 us or more: so it is asked
    # while it loads, and answers in time.
    world.server.start("--key-load-delay", "20", wait=False)
    reasons = set()

    async def is_ready() -> bool:
        try:
            await world.engine.check()
        except StoreUnavailable as refused:
            reasons.add(str(refused.__cause__))
            return False
        return True

    await wait_for(is_ready)
    assert any("is loading the dataset" in reason for reason in reasons), reasons
    assert await world.setup.balance() == before
    await world.assert_goes_on(payment)


def fill(world: GatedWorld, commands: int) -> None:
    """Write much into the append-only file, of what is nobody's."""
    each = "for number = 1, tonumber(ARGV[1]) do redis.call('SET', KEYS[1] .. number, number) end"
    with Redis.from_url(world.server.url, socket_timeout=60) as client:
        client.eval(each, 1, Keys("other").key("meta"), commands)
