"""Engines and a receiver of webhooks are killed at random: each event arrives, in order, with one body."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGKILL

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for
from support.fixtures.figures import report
from support.fixtures.fixed_code import CODE, make_verifier, open_store
from support.fixtures.store_setup import client_of
from support.processes.engine_process import FarEngine, Role, running_far_engine
from support.processes.webhook_receiver import WebhookReceiver

from technopay.engine import Engine
from technopay.engine.events.subjects import EVENT_TYPES
from technopay.engine.values import Position
from technopay.engine.webhooks.deliveries import REFRESH_INTERVAL_S
from technopay.storage import RedisStore

SETTINGS = {"webhook_private": "allow", "webhook_timeout_s": 2.0}
KILLS, OUTAGES = 10, 10
SHOPPERS = 4
PAUSE_S = 0.5
DELIVERED_S_MAX = 180.0


@pytest.mark.timeout(400)
async def test_a_receiver_gets_every_event_at_least_once_after_kills_and_outages(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"\nseed {seed}")  # noqa: T201
    chance, receiver = random.Random(seed), WebhookReceiver(tmp_path)
    await receiver.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(receiver.aclose)
        store = await stack.enter_async_context(open_store(valkey_url, namespace))
        engine = Engine(store, quick_settings(**SETTINGS), verifier=make_verifier({}))
        await stack.enter_async_context(engine)
        webhook = await engine.create_webhook(url=receiver.url)
        assert webhook.secret is not None
        await receiver.trust(webhook.secret)
        shoppers = [await make_setup(engine, store, f"user{number}") for number in range(SHOPPERS)]
        role = Role(valkey_url, namespace, settings=SETTINGS)
        pair = [await stack.enter_async_context(running_engines(role)) for _ in range(2)]
        shopping = [asyncio.create_task(shop(setup)) for setup in shoppers]
        await asyncio.sleep(REFRESH_INTERVAL_S)
        await asyncio.gather(kill_engines(chance, pair), interrupt(chance, receiver))
        for task in shopping:
            task.cancel()
        ends = await asyncio.gather(*shopping, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ends), ends
        began_at = time.monotonic()
        expected = await events_of(store)

        async def all_arrived() -> bool:
            return {each["id"] for each in receiver.received()} >= set(expected)

        await wait_for(all_arrived, within_s=DELIVERED_S_MAX)
        received = receiver.received()
        report(f"{len(received)} requests for {len(expected)} events; {time.monotonic() - began_at:.1f} s late")
        assert len(expected) > 50
        assert all(each["verified"] for each in received)
        bodies: defaultdict[str, set[str]] = defaultdict(set)
        for each in received:
            bodies[each["id"]].add(each["body"])
        assert {len(found) for found in bodies.values()} == {1}, "each id has one payload"
        assert_in_order([each["id"] for each in received], expected)
    await assert_books_balance(valkey_url, namespace)


def assert_in_order(received: Sequence[str], subjects: dict[str, str]) -> None:
    """Check that the first arrivals of the events of each subject are in the order of the journal."""
    arrived: defaultdict[str, list[Position]] = defaultdict(list)
    for event_id in dict.fromkeys(received):
        if event_id in subjects:
            arrived[subjects[event_id]].append(Position.of(event_id[6:]))
    assert arrived
    for subject, positions in arrived.items():
        assert positions == sorted(positions), subject


async def events_of(store: RedisStore) -> dict[str, str]:
    """Return the subjects of all events by their ids; the webhook is older than all of them."""
    found = await client_of(store).xrange(store._partition.keys.journal)
    entries = [(entry_id, next(iter(fields.items()))) for entry_id, fields in found]
    return {f"evt_00{entry_id}": subject for entry_id, (kind, subject) in entries if kind in EVENT_TYPES}


async def shop(setup: Setup) -> None:
    """Pay invoices one after the other, until it is cancelled."""
    while True:
        payment = await setup.start(await setup.invoice(amount=1))
        await setup.confirm(payment, CODE)
        await asyncio.sleep(PAUSE_S)


class Engines:
    """An engine in a process, which is started again after a kill."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._stack = AsyncExitStack()
        self._far: FarEngine | None = None

    async def start(self) -> None:
        self._far = await self._stack.enter_async_context(running_far_engine(self._role))

    async def kill(self) -> None:
        assert self._far is not None
        self._far.signal(SIGKILL)
        await self._far.process.wait()
        await self.aclose()

    async def aclose(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()


@asynccontextmanager
async def running_engines(role: Role) -> AsyncIterator[Engines]:
    engines = Engines(role)
    await engines.start()
    try:
        yield engines
    finally:
        await engines.aclose()


async def kill_engines(chance: random.Random, pair: Sequence[Engines]) -> None:
    async def kill_again(engines: Engines) -> None:
        for _ in range(KILLS // len(pair)):
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            await engines.kill()
            await engines.start()

    await asyncio.gather(*(kill_again(engines) for engines in pair))


async def interrupt(chance: random.Random, receiver: WebhookReceiver) -> None:
    """Kill the receiver, or let it refuse everything, for a moment each: the fifth attempt would be late."""
    for number in range(OUTAGES):
        await asyncio.sleep(chance.uniform(1.0, 2.5))
        if number % 2:
            await receiver.answer(503)
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            await receiver.answer(200)
        else:
            await receiver.kill()
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            await receiver.start()
