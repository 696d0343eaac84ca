"""Two actors of one wallet, each in a process of its own, over the scripts themselves: each keeps its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fixtures.clock import FakeClock
from support.fixtures.doubles import ManualClock, Reply, Result, settle
from support.fixtures.store_commands import list_entries
from support.fixtures.store_setup import Setup, operation

from technopay.engine.actors.actor import Actor, ActorContext
from technopay.engine.actors.mailbox import Envelope
from technopay.engine.commands import Command, Deposit
from technopay.engine.values import Lease
from technopay.storage import RedisStore

Step = tuple[str, int]


@dataclass(slots=True, eq=False)
class UnderWay:
    """A command that was sent; with its reply, once the store has carried it out."""

    command: Command[Any]
    lease: Lease
    on_result: Callable[[Result], None]
    reply: Result | None = None


class Process:
    """An actor behind a wire: what it sends and its replies wait until a test lets them through."""

    def __init__(self, store: RedisStore, wallet_id: str, owner: str) -> None:
        self.replies: list[Reply] = []
        self.put_amounts: list[int] = []
        self._store = store
        self._wallet_id = wallet_id
        self._clock = ManualClock()
        port: Any = self
        self._context = ActorContext(port, self._clock, owner, 1_000, self._passivate)
        self._actor: Actor | None = None
        self._under_way: list[UnderWay] = []

    def send(self, command: Command[Any], lease: Lease, on_result: Callable[[Result], None]) -> None:
        self._under_way.append(UnderWay(command, lease, on_result))

    def put(self, amount: int) -> None:
        """Put a deposit of this amount."""
        reply: Reply = asyncio.get_running_loop().create_future()
        self.replies.append(reply)
        self.put_amounts.append(amount)
        self._actor = self._actor or Actor(self._context, self._wallet_id)
        self._actor.put(Envelope(Deposit(operation(), self._wallet_id, amount), reply, float("inf")))

    async def reach(self, count: int) -> None:
        """Let some commands reach the store."""
        for each in [each for each in self._under_way if each.reply is None][:count]:
            reply: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self._store.send(each.command, each.lease, reply.set_result)
            each.reply = await reply

    def deliver(self, count: int) -> None:
        """Let some replies reach the actor."""
        for each in self._under_way[:count]:
            if each.reply is None:
                break
            self._under_way.remove(each)
            each.on_result(each.reply)

    async def finish(self) -> None:
        """Let everything through that is left."""
        while self._actor is not None:
            await self.reach(1)
            self.deliver(1)
            await settle()

    def _passivate(self, wallet_id: str) -> None:
        self._actor = None


class Rivalry:
    """Two processes that want the same wallet, on a store whose clock a test moves."""

    def __init__(self, store: RedisStore, wallet_id: str, clock: FakeClock) -> None:
        self.one, self.other = (Process(store, wallet_id, owner) for owner in ("one", "other"))
        self._clock = clock
        self._next = 1

    async def do(self, step: Step) -> None:
        """Let one thing happen."""
        name, number = step
        process = self.one if name.startswith("one") else self.other
        match name.split()[-1]:
            case "puts":
                for _ in range(number):
                    process.put(self._next)
                    self._next += 1
            case "reaches":
                await process.reach(number)
            case "receives":
                process.deliver(number)
            case "passes":
                self._clock.advance(number * 40)
        await settle()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [f"{who} {what}" for who in ("one", "other") for what in ("puts", "reaches", "receives")]
        )
        | st.just("time passes"),
        st.integers(1, 3),
    ),
    max_size=40,
)
HELD_BY_ONE: list[Step] = [("one puts", 4), ("one reaches", 1), ("one receives", 1), ("one reaches", 1)]
"""One took the lease with its second command and has two to come."""


@settings(deadline=None, max_examples=60)
@given(STEPS)
@example(
    [
        *HELD_BY_ONE, ("one receives", 1), ("one reaches", 2), ("one receives", 3),
        ("other puts", 2), ("other reaches", 1), ("other receives", 1), ("other puts", 1),
        *HELD_BY_ONE[:3], ("one reaches", 1), ("other reaches", 1),
        ("one receives", 1), ("one reaches", 3), ("other reaches", 3),
    ]
)  # fmt: skip
def test_rivals_each_keep_their_order(steps: list[Step]) -> None:
    async def run(clock: FakeClock) -> None:
        async with RedisStore.fake() as store:
            setup = Setup(store)
            await setup.user("alice")
            wallet_id = await setup.wallet("alice", balance=0)
            rivalry = Rivalry(store, wallet_id, clock)
            for step in steps:
                await rivalry.do(step)
            for process in (rivalry.one, rivalry.other):
                clock.advance(1_000)
                await process.finish()

            page = (await list_entries(store, wallet_id, None, "", 1_000)).value
            assert page is not None
            amounts = [entry.amount for entry in page.data][::-1]
            for process in (rivalry.one, rivalry.other):
                assert [amount for amount in amounts if amount in process.put_amounts] == process.put_amounts
                assert all(reply.result().code == "ok" for reply in process.replies)

    with pytest.MonkeyPatch.context() as patch:
        clock = FakeClock(1_783_252_800_000)
        patch.setattr("fakeredis.commands_mixins.server_mixin.time", clock)
        asyncio.run(run(clock))
