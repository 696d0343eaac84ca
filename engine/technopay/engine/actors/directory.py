"""The directory: wallet id to live actor."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from technopay.engine import tracing
from technopay.engine.actors.actor import Actor, ActorContext
from technopay.engine.actors.mailbox import Envelope
from technopay.engine.commands import Command
from technopay.engine.errors import EngineClosed, Overloaded
from technopay.engine.ports import Clock, Outcome, Store
from technopay.engine.settings import EngineSettings

Value = TypeVar("Value")


class Directory:
    """Activates and passivates actors. An idle wallet has none."""

    def __init__(self, store: Store, clock: Clock, settings: EngineSettings, owner: str) -> None:
        self._context = ActorContext(store, clock, owner, settings.mailbox_capacity, self._passivate)
        self._settings = settings
        self._tracing = tracing.active()
        self._live: dict[str, Actor] = {}
        self.commands_waiting = 0
        """How many commands were accepted and have no outcome yet."""
        self._draining = False
        self._drained = asyncio.Event()

    @property
    def live_actors(self) -> int:
        return len(self._live)

    @property
    def mailbox_depth_max(self) -> int:
        """The number of waiting commands of the busiest wallet."""
        return max((actor.waiting for actor in self._live.values()), default=0)

    @property
    def lease_waits(self) -> int:
        """How often a command came to a wallet that another process had."""
        return self._context.lease_waits

    def has_actor(self, wallet_id: str) -> bool:
        """Whether commands of this wallet are under way or wait."""
        return wallet_id in self._live

    async def run(
        self,
        wallet_id: str,
        command: Command[Value],
        on_outcome: Callable[[Outcome[Value]], None] | None = None,
    ) -> Outcome[Value]:
        """Send a command to a wallet and wait for its outcome.

        `on_outcome` gets the outcome, too, even if the caller has left.

        Raises:
            Overloaded: the mailbox is full, or the command did not begin in time; nothing happened.
            WalletBusy: another process kept the wallet; nothing happened.
            EngineClosed: the engine drains; nothing happened.
            OutcomeUnknown: the store does not reply.

        """
        if self._draining:
            raise EngineClosed
        if self.commands_waiting >= self._settings.commands_waiting_max:
            raise Overloaded
        deadline = self._context.clock.monotonic() + self._settings.command_deadline_s
        reply: asyncio.Future[Outcome[Value]] = asyncio.get_running_loop().create_future()
        envelope = Envelope(command, reply, deadline, on_outcome)
        if self._tracing is not None:
            envelope.context = self._tracing.command(command, reply)
        self._activate(wallet_id).put(envelope)
        self.commands_waiting += 1
        try:
            return await reply
        finally:
            self.commands_waiting -= 1

    async def drain(self, drain_s: float) -> None:
        """Refuse new commands and finish the accepted ones, but do not wait longer than `drain_s`."""
        self._draining = True
        if not self._live:
            return
        try:
            async with asyncio.timeout(drain_s):
                await self._drained.wait()
        except TimeoutError:
            for actor in list(self._live.values()):
                actor.abandon()

    def _activate(self, wallet_id: str) -> Actor:
        actor = self._live.get(wallet_id)
        if actor is None:
            actor = self._live[wallet_id] = Actor(self._context, wallet_id)
        return actor

    def _passivate(self, wallet_id: str) -> None:
        del self._live[wallet_id]
        if self._draining and not self._live:
            self._drained.set()
