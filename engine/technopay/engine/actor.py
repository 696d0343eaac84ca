"""The actor of one wallet: sends its commands to the store, in their order, and hands out the outcomes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from technopay.engine.errors import (
    EngineClosed,
    Fault,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    WalletBusy,
)
from technopay.engine.mailbox import Envelope, Mailbox
from technopay.engine.ports import Clock, Lease, Outcome, Store

logger = logging.getLogger(__name__)

COMMANDS_SENT_MAX = 64
"""So many of a wallet are under way. With more, engine and store work in turns instead of side by side."""

LEASE_COMMANDS_MAX = 64
LEASE_S_MAX = 0.1
BUSY_PAUSE_S_MAX = 0.02
ASK_AGAIN_PAUSE_S = 0.05
ASK_AGAIN_S_MAX = 5.0
AT_ONCE = frozenset({"fenced", "bounds"})
"""Outcomes after which nothing happened and a command can be sent again at once."""


@dataclass(slots=True)
class Surroundings:
    """What all actors of an engine have in common."""

    store: Store
    clock: Clock
    owner: str
    mailbox_capacity: int
    passivate: Callable[[str], None]
    lease_waits: int = 0
    """How often a command came to a wallet that another process had."""


class Actor:
    """Lives while its wallet has commands. It is no task: it works when a command or an outcome comes in.

    With a token that the store confirmed, the commands that wait go out together. If another process takes
    the wallet, the store refuses the first of them and, the token being stale for ever, all behind it. What
    was refused or lost is sent again in its old order, before anything new. Nothing goes out behind a command
    that has no token, that may raise it by taking the lease, or that is asked for again: it could be refused
    alone, or what follows it. So commands take effect in the order in which they came, whatever happens.
    """

    __slots__ = (
        "_alone", "_around", "_lease_began", "_lease_commands", "_mailbox", "_own_token", "_pause", "_pause_s",
        "_refused", "_sent", "_takes_lease", "_token", "_wallet_id",
    )  # fmt: skip

    def __init__(self, around: Surroundings, wallet_id: str) -> None:
        self._around = around
        self._wallet_id = wallet_id
        self._mailbox = Mailbox(around.mailbox_capacity)
        # What is under way, in its order, and how many of it came back to be sent again.
        self._sent: list[Envelope] = []
        self._refused = 0
        self._pause_s = 0.0
        self._pause: asyncio.Task[None] | None = None
        self._alone: Envelope | None = None
        self._takes_lease = False
        # The token that the store has now, and the one under which the lease was ours last.
        self._token = ""
        self._own_token = ""
        self._lease_began = 0.0
        self._lease_commands = 0

    @property
    def waiting(self) -> int:
        """How many commands wait to be sent."""
        return len(self._mailbox)

    def put(self, envelope: Envelope, *, always: bool = False) -> None:
        """Take a command in.

        Raises:
            Overloaded: the mailbox is full.

        """
        if self._may_send() and not self._mailbox:
            self._send(envelope)
        else:
            self._mailbox.put(envelope, always=always)

    def abandon(self) -> None:
        """Give up everything: what was not sent did not happen, what was sent is unknown."""
        if self._pause is not None:
            self._pause.cancel()
        while (envelope := self._mailbox.take()) is not None:
            _tell(envelope, EngineClosed())
        for envelope in self._sent:
            _tell(envelope, OutcomeUnknown())
        self._sent, self._refused, self._alone = [], 0, None
        self._around.passivate(self._wallet_id)

    def _may_send(self) -> bool:
        """Whether the next command may go out now, behind those that are under way."""
        if self._refused or self._alone is not None or self._pause is not None:
            return False
        return len(self._sent) < COMMANDS_SENT_MAX

    def _work(self) -> None:
        """Send what may be sent; with nothing left to do, go."""
        while self._may_send() and (envelope := self._mailbox.take()) is not None:
            if envelope.reply.done() and envelope.known_by is None:
                continue  # its asker left before it began
            if envelope.known_by is None and self._around.clock.monotonic() >= envelope.deadline:
                _tell(envelope, WalletBusy() if envelope.was_busy else Overloaded())
            else:
                self._send(envelope)
        if not self._sent and self._pause is None:
            self._around.passivate(self._wallet_id)

    def _send(self, envelope: Envelope) -> None:
        lease = self._lease()
        self._takes_lease = lease.keep and lease.token != self._own_token
        if self._takes_lease or not lease.token or envelope.known_by is not None:
            self._alone = envelope
        self._sent.append(envelope)
        try:
            self._around.store.send(envelope.command, lease, partial(self._hear, envelope))
        except Exception:
            logger.exception("a command cannot be sent: %s", type(envelope.command).__name__)
            asyncio.get_running_loop().call_soon(self._hear, envelope, InternalError())

    def _hear(self, envelope: Envelope, heard: Outcome[Any] | Fault) -> None:
        """Take in the outcome of a command."""
        if envelope not in self._sent:
            return  # abandoned
        pause_s = self._judge(envelope, heard)
        if envelope is self._alone:
            self._alone = None
            # An answer given again, a completion or an unknown wallet brings no token: the lease was not taken.
            if self._takes_lease and isinstance(heard, Outcome) and heard.token:
                self._own_token = heard.token
        if pause_s is None:
            self._sent.remove(envelope)
            _tell(envelope, heard)
        else:
            self._refused += 1
            self._pause_s = max(self._pause_s, pause_s)
            self._token = ""
        if not self._refused:
            self._work()
        elif self._refused == len(self._sent):
            self._pause = asyncio.get_running_loop().create_task(self._send_again())

    def _judge(self, envelope: Envelope, heard: Outcome[Any] | Fault) -> float | None:
        """Answer None for what is to be told, else after how many seconds the command has to be sent again."""
        if isinstance(heard, Outcome):
            if heard.code in AT_ONCE:
                return 0.0
            if heard.code != "busy":
                self._token = heard.token or self._token
                return None
            envelope.was_busy = True
            self._around.lease_waits += 1
            late = self._around.clock.monotonic() >= envelope.deadline
            return None if late else random.uniform(0.001, BUSY_PAUSE_S_MAX)  # noqa: S311
        if isinstance(heard, OutcomeUnknown) and envelope.known_by is None:
            envelope.known_by = self._around.clock.monotonic() + ASK_AGAIN_S_MAX
        if isinstance(heard, InternalError):
            return None
        if envelope.known_by is None:
            # Nothing happened, as to all behind a lost one: it follows when that is asked for again.
            return ASK_AGAIN_PAUSE_S if self._refused else None
        return ASK_AGAIN_PAUSE_S if self._around.clock.monotonic() < envelope.known_by else None

    async def _send_again(self) -> None:
        """Send what was refused or lost, as a newcomer, in its old order and before anything new."""
        pause_s, self._pause_s = self._pause_s, 0.0
        if pause_s:
            await self._around.clock.sleep(pause_s)
        self._mailbox.put_back(self._sent)
        self._sent, self._refused, self._pause = [], 0, None
        self._work()

    def _lease(self) -> Lease:
        """Keep the lease only for envelopes that wait, and not for ever: others want the wallet, too."""
        now = self._around.clock.monotonic()
        if self._lease_commands == 0:
            self._lease_began = now
        self._lease_commands += 1
        keep = (
            len(self._mailbox) > 0
            and self._lease_commands < LEASE_COMMANDS_MAX
            and now - self._lease_began < LEASE_S_MAX
        )
        if not keep:
            self._lease_commands = 0
        return Lease(self._around.owner, self._token, keep)


def _tell(envelope: Envelope, heard: Outcome[Any] | Fault) -> None:
    """Tell an asker the outcome, unless the asker left; then do what follows from it."""
    reply = envelope.reply
    if isinstance(heard, Fault) or heard.code == "busy":
        if isinstance(heard, Outcome):
            heard = WalletBusy()
        elif isinstance(heard, StoreUnavailable) and envelope.known_by is not None:
            heard = OutcomeUnknown()
        if not reply.done():
            reply.set_exception(heard)
            reply.exception()  # an asker who left will not look at it
        return
    if not reply.done():
        reply.set_result(heard)
    if envelope.follow is not None:
        try:
            envelope.follow(heard)
        except Exception:
            logger.exception("what follows a command crashed: %s", type(envelope.command).__name__)
