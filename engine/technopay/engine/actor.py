"""The actor of one wallet: it carries out the wallet's commands, one at a time, in their order."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

from technopay.engine.errors import (
    EngineClosed,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    TechnopayError,
    WalletBusy,
)
from technopay.engine.mailbox import Envelope, Mailbox
from technopay.engine.ports import Clock, Lease, Outcome, Store

logger = logging.getLogger(__name__)

LEASE_COMMANDS_MAX = 64
LEASE_S_MAX = 0.1
BUSY_PAUSE_S_MAX = 0.02


class Actor:
    """Works while there are envelopes and is forgotten when there are none.

    A command that crashes costs only that command: its asker gets the error, the next one is carried out.
    """

    def __init__(self, store: Store, clock: Clock, owner: str, capacity: int) -> None:
        self.mailbox = Mailbox(capacity)
        self._store = store
        self._clock = clock
        self._owner = owner
        self._token = ""
        self._lease_began = 0.0
        self._lease_commands = 0

    async def work(self) -> None:
        """Carry out what is in the mailbox, until it is empty."""
        try:
            while (envelope := self.mailbox.take()) is not None:
                await self._process(envelope)
        finally:
            # Only a cancelled actor leaves envelopes behind: their askers must not wait for ever.
            while (envelope := self.mailbox.take()) is not None:
                _fail(envelope, EngineClosed())

    async def _process(self, envelope: Envelope) -> None:
        if envelope.reply.done():
            return  # its asker left before it began
        if self._clock.monotonic() >= envelope.deadline:
            _fail(envelope, Overloaded())
            return
        try:
            outcome = await self._run(envelope)
        except TechnopayError as error:
            _fail(envelope, error)
        except asyncio.CancelledError:
            _fail(envelope, OutcomeUnknown())
            raise
        except Exception:
            logger.exception("a command crashed: %s", type(envelope.command).__name__)
            _fail(envelope, InternalError())
        else:
            if not envelope.reply.done():
                envelope.reply.set_result(outcome)

    async def _run(self, envelope: Envelope) -> Outcome[Any]:
        while True:
            outcome = await envelope.command.run(self._store, self._lease())
            if outcome.code == "fenced" and self._token:
                self._token = ""  # somebody else was here: come as a newcomer
                continue
            if outcome.code != "busy":
                self._token = outcome.token or self._token
                return outcome
            self._token = ""
            if self._clock.monotonic() >= envelope.deadline:
                raise WalletBusy
            await self._clock.sleep(random.uniform(0.001, BUSY_PAUSE_S_MAX))  # noqa: S311

    def _lease(self) -> Lease:
        """Keep the lease only for envelopes that wait, and not for ever: others want the wallet, too."""
        now = self._clock.monotonic()
        if self._lease_commands == 0:
            self._lease_began = now
        self._lease_commands += 1
        keep = (
            len(self.mailbox) > 0
            and self._lease_commands < LEASE_COMMANDS_MAX
            and now - self._lease_began < LEASE_S_MAX
        )
        if not keep:
            self._lease_commands = 0
        return Lease(self._owner, self._token, keep)


def _fail(envelope: Envelope, error: TechnopayError) -> None:
    if not envelope.reply.done():
        envelope.reply.set_exception(error)
        envelope.reply.exception()  # an asker who left will not look at it
