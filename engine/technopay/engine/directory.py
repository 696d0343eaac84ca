"""The directory: wallet id to live actor, the one place that activates and passivates."""

from __future__ import annotations

import asyncio
from typing import Any

from technopay.engine.actor import Actor
from technopay.engine.commands import Command
from technopay.engine.errors import EngineClosed, Overloaded
from technopay.engine.mailbox import Envelope
from technopay.engine.ports import Clock, Outcome, Store
from technopay.engine.settings import EngineSettings


class Directory:
    """Finds the actor of a wallet, or makes it. An idle wallet has none."""

    def __init__(self, store: Store, clock: Clock, settings: EngineSettings, owner: str) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._owner = owner
        self._live: dict[str, tuple[Actor, asyncio.Task[None]]] = {}
        self._waiting = 0
        self._draining = False

    @property
    def live_actors(self) -> int:
        """How many wallets have something to do."""
        return len(self._live)

    @property
    def commands_waiting(self) -> int:
        """How many commands were accepted and have no outcome yet."""
        return self._waiting

    async def ask(self, wallet_id: str, command: Command) -> Outcome[Any]:
        """Send a command to a wallet and wait for its outcome.

        Raises:
            Overloaded: the mailbox is full, or the command did not begin in time; nothing happened.
            WalletBusy: another process kept the wallet; nothing happened.
            EngineClosed: the engine drains; nothing happened.

        """
        if self._draining:
            raise EngineClosed
        if self._waiting >= self._settings.commands_waiting_max:
            raise Overloaded
        return await self._send(wallet_id, command, always=False)

    async def complete(self, wallet_id: str, command: Command) -> Outcome[Any]:
        """Send the completion of something accepted before: it gets in, mailbox full or draining or not."""
        return await self._send(wallet_id, command, always=True)

    async def drain(self, drain_s: float) -> None:
        """Refuse new commands and finish the accepted ones, but do not wait longer than `drain_s`."""
        self._draining = True
        if tasks := [task for _, task in self._live.values()]:
            _, late = await asyncio.wait(tasks, timeout=drain_s)
            for task in late:
                task.cancel()

    async def _send(self, wallet_id: str, command: Command, *, always: bool) -> Outcome[Any]:
        reply: asyncio.Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
        deadline = self._clock.monotonic() + self._settings.command_deadline_s
        # No await between finding the actor and putting the envelope: passivation cannot come between.
        actor = self._activate(wallet_id)
        actor.mailbox.put(Envelope(command, reply, deadline if not always else float("inf")), always=always)
        self._waiting += 1
        try:
            return await reply
        finally:
            self._waiting -= 1

    def _activate(self, wallet_id: str) -> Actor:
        if live := self._live.get(wallet_id):
            return live[0]
        actor = Actor(self._store, self._clock, self._owner, self._settings.mailbox_capacity)
        task = asyncio.get_running_loop().create_task(self._live_and_passivate(wallet_id, actor))
        self._live[wallet_id] = actor, task
        return actor

    async def _live_and_passivate(self, wallet_id: str, actor: Actor) -> None:
        try:
            await actor.work()
        finally:
            # work() ends in the same step in which it found the mailbox empty, so no envelope is lost.
            del self._live[wallet_id]
