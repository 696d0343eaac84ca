"""The actor of one wallet: sends its commands to the store in order, and resolves them."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from technopay.engine.actors.mailbox import Envelope, Mailbox
from technopay.engine.errors import (
    EngineClosed,
    Fault,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    WalletBusy,
)
from technopay.engine.ports import Clock, Outcome, Store
from technopay.engine.values import Lease

logger = logging.getLogger(__name__)

COMMANDS_SENT_MAX = 64
"""Commands of a wallet that are under way. With more, engine and store work in turns instead of in parallel."""

LEASE_COMMANDS_MAX = 64
LEASE_S_MAX = 0.1
BUSY_PAUSE_S_MAX = 0.02
RESEND_PAUSE_S = 0.05
RESEND_S_MAX = 5.0
RETRY_NOW = frozenset({"fenced", "bounds"})
"""Outcomes without any effect, after which the command is sent again at once."""


@dataclass(slots=True)
class ActorContext:
    """The parts of an engine that its actors share."""

    store: Store
    clock: Clock
    owner: str
    mailbox_capacity: int
    passivate: Callable[[str], None]
    lease_waits: int = 0
    """How often a command came to a wallet that another process had."""


class Actor:
    """Exists while its wallet has commands. It has no task: it runs when a command or an outcome arrives.

    With a token that the store confirmed, the waiting commands leave together. If another process takes the
    wallet, the store refuses the first of them and, because the token is stale for ever, all behind it. A
    refused or lost command is sent again in its old place, before any new one. A command is a barrier (the next
    one waits for its reply) if it has no token, may raise the token by taking the lease, or is a retry. So
    commands always take effect in the order of their arrival.
    """

    __slots__ = (
        "_barrier", "_context", "_lease_began", "_lease_commands", "_mailbox", "_own_token", "_pause",
        "_pause_s", "_refused", "_sent", "_takes_lease", "_token", "_wallet_id",
    )  # fmt: skip

    def __init__(self, context: ActorContext, wallet_id: str) -> None:
        self._context = context
        self._wallet_id = wallet_id
        self._mailbox = Mailbox(context.mailbox_capacity)
        # The commands under way, in their order, and how many of them have to be sent again.
        self._sent: list[Envelope] = []
        self._refused = 0
        self._pause_s = 0.0
        self._pause: asyncio.Task[None] | None = None
        self._barrier: Envelope | None = None
        self._takes_lease = False
        # The current token of the store, and the token of our last lease.
        self._token = ""
        self._own_token = ""
        self._lease_began = 0.0
        self._lease_commands = 0

    @property
    def waiting(self) -> int:
        return len(self._mailbox)

    def put(self, envelope: Envelope) -> None:
        """Send a command, or let it wait in the mailbox.

        Raises:
            Overloaded: the mailbox is full.

        """
        if self._may_send() and not self._mailbox:
            self._send(envelope)
        else:
            self._mailbox.put(envelope)

    def abandon(self) -> None:
        """Resolve all commands: an unsent one did not run, the outcome of a sent one is unknown."""
        if self._pause is not None:
            self._pause.cancel()
        while (envelope := self._mailbox.take()) is not None:
            _resolve(envelope, EngineClosed())
        for envelope in self._sent:
            _resolve(envelope, OutcomeUnknown())
        self._sent, self._refused, self._barrier = [], 0, None
        self._context.passivate(self._wallet_id)

    def _may_send(self) -> bool:
        """Whether the next command may be sent now."""
        if self._refused or self._barrier is not None or self._pause is not None:
            return False
        return len(self._sent) < COMMANDS_SENT_MAX

    def _work(self) -> None:
        """Send the commands that may be sent; end if there are none."""
        while self._may_send() and (envelope := self._mailbox.take()) is not None:
            if envelope.reply.done() and envelope.resolve_by is None:
                continue  # its caller left before it was sent
            if envelope.resolve_by is None and self._context.clock.monotonic() >= envelope.deadline:
                _resolve(envelope, WalletBusy() if envelope.was_busy else Overloaded())
            else:
                self._send(envelope)
        if not self._sent and self._pause is None:
            self._context.passivate(self._wallet_id)

    def _send(self, envelope: Envelope) -> None:
        lease = self._lease()
        self._takes_lease = lease.keep and lease.token != self._own_token
        if self._takes_lease or not lease.token or envelope.resolve_by is not None:
            self._barrier = envelope
        self._sent.append(envelope)
        try:
            send, on_result = self._context.store.send, partial(self._on_result, envelope)
            if envelope.context is None:
                send(envelope.command, lease, on_result)
            else:
                envelope.context.run(send, envelope.command, lease, on_result)
        except Exception:
            logger.exception("a command cannot be sent: %s", type(envelope.command).__name__)
            asyncio.get_running_loop().call_soon(self._on_result, envelope, InternalError())

    def _on_result(self, envelope: Envelope, result: Outcome[Any] | Fault) -> None:
        """Resolve a command, or have it sent again."""
        if envelope not in self._sent:
            return  # abandoned
        pause_s = self._retry_delay(envelope, result)
        if envelope is self._barrier:
            self._barrier = None
            # A replayed outcome or an unknown wallet brings no token: the lease was not taken.
            if self._takes_lease and isinstance(result, Outcome) and result.token:
                self._own_token = result.token
        if pause_s is None:
            self._sent.remove(envelope)
            _resolve(envelope, result)
        else:
            self._refused += 1
            self._pause_s = max(self._pause_s, pause_s)
            self._token = ""
        if not self._refused:
            self._work()
        elif self._refused == len(self._sent):
            self._pause = asyncio.get_running_loop().create_task(self._send_again())

    def _retry_delay(self, envelope: Envelope, result: Outcome[Any] | Fault) -> float | None:
        """Return None if the result is final, else the delay before a resend, in seconds."""
        if isinstance(result, Outcome):
            if result.code in RETRY_NOW:
                return 0.0
            if result.code != "busy":
                self._token = result.token or self._token
                return None
            envelope.was_busy = True
            self._context.lease_waits += 1
            late = self._context.clock.monotonic() >= envelope.deadline
            return None if late else random.uniform(0.001, BUSY_PAUSE_S_MAX)  # noqa: S311
        if isinstance(result, OutcomeUnknown) and envelope.resolve_by is None:
            envelope.resolve_by = self._context.clock.monotonic() + RESEND_S_MAX
        if isinstance(result, InternalError):
            return None
        if envelope.resolve_by is None:
            # It did not run. Behind a lost command, it is sent again with that one.
            return RESEND_PAUSE_S if self._refused else None
        return RESEND_PAUSE_S if self._context.clock.monotonic() < envelope.resolve_by else None

    async def _send_again(self) -> None:
        """Send refused and lost commands in their old order, without a token, before any new one."""
        pause_s, self._pause_s = self._pause_s, 0.0
        if pause_s:
            await self._context.clock.sleep(pause_s)
        self._mailbox.put_back(self._sent)
        self._sent, self._refused, self._pause = [], 0, None
        self._work()

    def _lease(self) -> Lease:
        """Keep the lease while commands wait, for a bounded time: other processes need the wallet, too."""
        now = self._context.clock.monotonic()
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
        return Lease(self._context.owner, self._token, keep)


def _resolve(envelope: Envelope, result: Outcome[Any] | Fault) -> None:
    """Pass the result to the caller, if it still waits, and to `on_outcome`."""
    reply = envelope.reply
    if isinstance(result, Fault) or result.code == "busy":
        if isinstance(result, Outcome):
            result = WalletBusy()
        elif isinstance(result, StoreUnavailable) and envelope.resolve_by is not None:
            result = OutcomeUnknown()
        if not reply.done():
            reply.set_exception(result)
            reply.exception()  # a caller that left does not retrieve it
        return
    if not reply.done():
        reply.set_result(result)
    if envelope.on_outcome is not None:
        try:
            envelope.on_outcome(result)
        except Exception:
            logger.exception("the follow-up of a command failed: %s", type(envelope.command).__name__)
