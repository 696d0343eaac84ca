"""The relay: reads the journal as an outbox and sees to it that every message is delivered, at least once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from technopay.engine.claims import Claims
from technopay.engine.code_keys import CodeKeys
from technopay.engine.errors import Fault
from technopay.engine.fields import is_line
from technopay.engine.messages import message_text
from technopay.engine.models import Method
from technopay.engine.ports import (
    Channel,
    ClaimedMessage,
    Fate,
    Notice,
    OutgoingMessage,
    Store,
    UntoldNotice,
)
from technopay.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

STRETCH = 1_000
ERROR_LENGTH_MAX = 200
AGAIN_MAX = 1_000
"""Messages that are tried again at a time."""


class UnreadableError(Exception):
    """Raised when a message cannot be made from what the store holds: it is dead."""


class Relay:
    """Delivers messages. A channel that is down delays only the messages that go through it."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[Method, Channel],
        keys: CodeKeys,
        settings: EngineSettings,
        owner: str,
        claims: Claims,
    ) -> None:
        self._store = store
        self._claims = claims
        self._again: set[asyncio.Task[None]] = set()
        self._channels = channels
        self._keys = keys
        self._settings = settings
        self._owner = owner

    async def relay(self) -> bool:
        """Deliver the messages of one stretch of the journal; answer whether there may be more."""
        outbox = await self._store.read_outbox(self._owner, STRETCH)
        if outbox is None:
            return False
        backoff_ms = round(self._settings.message_backoff_s * 1000)
        with self._claims.holding("relay", "", outbox.claim) as claim:
            untold = await self._deliver_all(outbox.notices)
        if not await self._store.record_deliveries(outbox.claim, outbox.cursor, backoff_ms, untold):
            self._claims.lose(claim)
        return outbox.entries == STRETCH

    def begin_again(self, message: ClaimedMessage) -> None:
        """Begin to try a message that failed before; one too many stays on the agenda."""
        if len(self._again) < AGAIN_MAX:
            task = asyncio.get_running_loop().create_task(self._try_again(message))
            self._again.add(task)
            task.add_done_callback(self._again.discard)

    async def drain(self, drain_s: float) -> None:
        """Wait for the messages that are being tried again, but not longer than `drain_s`."""
        if self._again:
            _, late = await asyncio.wait(self._again, timeout=drain_s)
            for task in late:
                task.cancel()

    async def _try_again(self, message: ClaimedMessage) -> None:
        try:
            await self.deliver_again(message)
        except Fault as fault:
            logger.warning("message %s is left to the agenda: %s", message.notice.entry_id, fault.code)
        except Exception:
            logger.exception("message %s crashed; the agenda has it", message.notice.entry_id)

    async def deliver_again(self, message: ClaimedMessage) -> None:
        """Try a message that failed before; after the last attempt it is dead until somebody sends it again."""
        with self._claims.holding("message", message.notice.entry_id, message.claim) as claim:
            untold = await self._deliver_all([message.notice], message.channel)
        attempts = message.attempts + 1
        fate, error = (untold[0].fate, untold[0].error) if untold else ("sent", "")
        if fate == "unsent" and message.attempts:
            fate = "stale"  # an earlier attempt may have sent it
        if fate == "waiting" and attempts >= self._settings.message_attempts:
            fate = "dead"
        backoff_s = self._settings.message_backoff_s * 2 ** (attempts - 1)
        if not await self._store.record_attempt(message, fate, error, round(backoff_s * 1000)):
            self._claims.lose(claim)

    async def _deliver_all(
        self, notices: Sequence[Notice], channel: Method | None = None
    ) -> list[UntoldNotice]:
        """Deliver side by side, all within the time for one; answer what was not delivered.

        Whatever goes wrong with one message must not hold up the others.
        """
        if not notices:
            return []
        usual = [_usual_channel(notice) for notice in notices]
        reached = [channel or self._channel_for(*each) for each in zip(notices, usual, strict=True)]
        deliveries = [
            asyncio.create_task(self._deliver(notice, through))
            for notice, through in zip(notices, reached, strict=True)
        ]
        try:
            await asyncio.wait(deliveries, timeout=self._settings.message_timeout_s)
        finally:
            late = [delivery for delivery in deliveries if not delivery.done()]
            for delivery in late:
                delivery.cancel()
        if late:
            await asyncio.wait(late, timeout=self._settings.message_timeout_s)
        fates = [_fate_of(delivery) for delivery in deliveries]
        return [
            UntoldNotice(notice, through, fate, error)
            for notice, own, through, (fate, error) in zip(notices, usual, reached, fates, strict=True)
            if fate != "sent" or through != own
        ]

    def _channel_for(self, notice: Notice, usual: Method) -> Method:
        """Return the usual channel of a message or, where this engine lacks it, another that the user has."""
        parcel = notice.parcel
        if usual in self._channels or parcel is None or notice.kind == "confirmation.code":
            return usual
        other: Method = "sms" if usual == "email" else "email"
        return other if other in self._channels and parcel.phone and parcel.email else usual

    async def _deliver(self, notice: Notice, channel: Method) -> Fate:
        """Deliver, unless there is nothing to send."""
        parcel, code = notice.parcel, None
        if parcel is None:
            return "stale"
        to = (parcel.email if channel == "email" else parcel.phone) or ""
        if parcel.status == "unreadable" or not is_line(to):
            self._store.unreadable.note("message", notice.entry_id)
            raise UnreadableError("the record or its address cannot be read")
        if notice.kind == "confirmation.code":
            is_current = parcel.status == "requires_confirmation" and parcel.issue == notice.issue
            verifier = self._keys.verifier(parcel.key_id)
            if notice.issue is None or (verifier is None and not is_current):
                return "stale"
            if verifier is None:
                return "left"
            code = await verifier.code(parcel.terms, notice.issue)
            if code is None:
                return "unsent"
            if not is_current:
                return "stale"  # it counts: another one took its place before it could leave
        message = OutgoingMessage(
            event_id=event_id(notice.entry_id),
            user_id=parcel.user_id,
            channel=channel,
            to=to,
            kind=notice.kind,
            text=message_text(notice, parcel, code),
            code=code,
            payment_id=parcel.payment_id,
            amount=parcel.amount,
            currency=parcel.currency,
            payee=parcel.merchant,
        )
        through = self._channels.get(channel)
        if through is None:
            raise ConnectionError(f"there is no channel for {channel}")
        await through.deliver(message)
        return "sent"


def event_id(entry_id: str) -> str:
    """Answer the public id of a journal entry; the partition is part of it."""
    return f"evt_00{entry_id}"


def _fate_of(delivery: asyncio.Task[Fate]) -> tuple[Fate, str]:
    """Return what became of a message, and what went wrong."""
    if not delivery.done() or delivery.cancelled():
        return "waiting", "TimeoutError"
    error = delivery.exception()
    if error is not None:
        logger.info("a message was not taken: %r", error)
        fate: Fate = "dead" if isinstance(error, UnreadableError) else "waiting"
        return fate, (str(error) or type(error).__name__)[:ERROR_LENGTH_MAX]
    return delivery.result(), ""


def _usual_channel(notice: Notice) -> Method:
    """Return the channel that a journal entry implies: the one chosen for a code, else e-mail if there is one.

    A message that was sent by it needs no record of its own.
    """
    parcel = notice.parcel
    if parcel is None:
        return "email"
    if notice.kind == "confirmation.code" and parcel.method:
        return parcel.method
    return "email" if parcel.email else "sms"
