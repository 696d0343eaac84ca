"""After refusals, losses and delays: commands take effect in their order, with true outcomes.

The store is a model of the scripts and the connection; Hypothesis chooses the faults and their times.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fixtures.contended_store import ContendedStore
from support.fixtures.doubles import ManualClock, make_command

from technopay.engine import (
    EngineClosed,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    WalletBusy,
)
from technopay.engine.actors.actor import Actor, ActorContext
from technopay.engine.actors.mailbox import Envelope
from technopay.engine.ports import Outcome

Step = tuple[str, int]

NOTHING_HAPPENED = (Overloaded, WalletBusy, EngineClosed, StoreUnavailable)
OFTEN = ["put", "put", "put", "work", "work", "answer", "answer", "answer"]
TROUBLE = [
    "cut",
    "break off",
    "take",
    "visit",
    "repeat",
    "release",
    "bounds",
    "refuse",
    "crash",
    "leave",
    "put late",
    "pass",
]


class Wallet:
    """A wallet with its actor, made on demand and dropped when idle, as the directory does it."""

    def __init__(self) -> None:
        self.store = ContendedStore()
        self.clock = ManualClock()
        self.replies: dict[str, asyncio.Future[Outcome[Any]]] = {}
        self.abandoned = False
        store: Any = self.store
        self._context = ActorContext(store, self.clock, "owner", 10_000, self._passivate)
        self._actor: Actor | None = None

    def put(self, deadline_s: float = float("inf")) -> None:
        """Put the next command; the order of names is the order of arrival."""
        name = self._next_name
        self.replies[name] = asyncio.get_running_loop().create_future()
        self._actor = self._actor or Actor(self._context, "wal_001")
        self._actor.put(Envelope(make_command(name), self.replies[name], self.clock.now + deadline_s))

    def repeat(self) -> None:
        """Put a command that took effect long ago."""
        self.store.repeats.add(self._next_name)
        self.put()

    @property
    def _next_name(self) -> str:
        return f"{len(self.replies):04}"

    def _passivate(self, wallet_id: str) -> None:
        assert wallet_id == "wal_001"
        assert self._actor is not None
        self._actor = None
        assert self.abandoned or self.is_idle, "what is not done must not be forgotten"

    @property
    def is_idle(self) -> bool:
        """Whether no command is under way and no caller waits."""
        return not self.store.under_way and all(reply.done() for reply in self.replies.values())

    async def do(self, step: Step) -> None:
        """Run one step, and its consequences."""
        name, number = step
        store = self.store
        what: dict[str, Callable[[], None]] = {
            "put": self.put,
            "repeat": self.repeat,
            "put late": lambda: self.put(deadline_s=number / 50),
            "work": lambda: store.work(number),
            "answer": lambda: store.answer(number),
            "cut": lambda: store.cut(number),
            "break off": lambda: store.break_off(number),
            "take": lambda: store.let_other_come(keep=True),
            "visit": lambda: store.let_other_come(keep=False),
            "release": store.let_lease_end,
            "bounds": lambda: store.refuse(Outcome("bounds")),
            "refuse": lambda: store.refuse(StoreUnavailable()),
            "crash": lambda: store.crash(half_way=number % 2 == 0),
            "leave": lambda: self.leave(number),
            "pass": lambda: self.clock.pass_time(number / 4),
        }
        what[name]()
        await self._settle()

    def leave(self, number: int) -> None:
        """Cancel one of the waiting callers."""
        if waiting := [reply for reply in self.replies.values() if not reply.done()]:
            waiting[number % len(waiting)].cancel()

    async def _settle(self) -> None:
        """Run the loop until pauses end; the clock makes them short."""
        for _ in range(5):
            await asyncio.sleep(0)
        assert (self._actor is None) == self.is_idle

    async def finish(self) -> None:
        """Process all commands, without further faults."""
        self.store.let_lease_end()
        for _ in range(20 * len(self.replies) + 20):
            if self._actor is None:
                return
            await self.do(("work", 1))
            await self.do(("answer", 0))
            self.store.let_lease_end()
        raise AssertionError("the actor does not come to an end")

    async def abandon(self) -> None:
        """Abandon the actor; the commands under way take effect all the same."""
        self.abandoned = True
        if self._actor is not None:
            self._actor.abandon()
        self.store.work(len(self.replies))
        while self.store.under_way:
            self.store.answer(0)
        await asyncio.sleep(0)

    def check(self) -> None:
        """Check the order of the effects and the truth of every outcome."""
        effects = self.store.effects
        assert effects == sorted(set(effects)), "each at most once, and in order"
        assert self._actor is None
        for name, reply in self.replies.items():
            assert reply.done(), f"{name} was told nothing"
            if not reply.cancelled():
                self._check_told(name, reply)

    def _check_told(self, name: str, reply: asyncio.Future[Outcome[Any]]) -> None:
        took_effect = name in self.store.effects
        error = reply.exception()
        if error is None:
            assert (reply.result().code, reply.result().value) == ("ok", name)
            assert took_effect or name in self.store.repeats
        elif isinstance(error, NOTHING_HAPPENED):
            assert not took_effect, f"{name} was told {error!r}"
        elif isinstance(error, OutcomeUnknown):
            assert name in self.store.lost or (self.abandoned and name in self.store.sent)
        else:
            assert isinstance(error, InternalError)
            assert name in self.store.crashed


STEPS = st.lists(st.tuples(st.sampled_from(OFTEN + TROUBLE), st.integers(0, 5)), max_size=80)
PIPELINED: list[Step] = [("put", 0)] * 6 + [("work", 1), ("answer", 0)] * 2
"""Six commands, the second of which took the lease: the last four are sent together behind it."""
REPEATED: list[Step] = [("put", 0), ("repeat", 0), *[("put", 0)] * 3, *[("work", 1), ("answer", 0)] * 3]
"""The second of five commands seemed to take the lease, but it was a repeat; two are still under way."""


@settings(deadline=None, max_examples=400)
@given(STEPS, st.booleans())
@example([*PIPELINED, ("refuse", 0), ("work", 9)], False)
@example([*REPEATED, ("put", 0), ("work", 9)], False)
@example([*PIPELINED, ("bounds", 0), ("work", 9), ("answer", 3), ("answer", 0)], False)
@example([*PIPELINED, ("take", 0), ("release", 0), ("take", 0), ("work", 9)], False)
@example([*PIPELINED, ("cut", 0), ("work", 1), ("answer", 0), ("refuse", 0), ("work", 9)], False)
@example([*PIPELINED, ("cut", 2), ("work", 1), ("answer", 0), ("work", 1), ("refuse", 0), ("work", 9)], False)
@example([*PIPELINED, ("cut", 2), ("work", 1)], True)
@example([*PIPELINED, ("break off", 1), ("put", 0), ("cut", 1)], False)
def test_commands_take_effect_in_the_order_in_which_they_came(steps: list[Step], gives_up: bool) -> None:
    """Each command at most once, and each caller gets one true outcome."""

    async def run() -> None:
        wallet = Wallet()
        for step in steps:
            await wallet.do(step)
        await (wallet.abandon() if gives_up else wallet.finish())
        wallet.check()

    asyncio.run(run())
