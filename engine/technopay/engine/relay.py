"""The relay: reads the journal as an outbox and sees to it that every message is delivered, at least once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from technopay.engine.messages import message_text
from technopay.engine.models import Method
from technopay.engine.ports import (
    Channel,
    ClaimedMessage,
    Notice,
    OutgoingMessage,
    Store,
    UntoldNotice,
    Verifier,
)
from technopay.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

STRETCH = 1_000
ERROR_LENGTH_MAX = 200


class Relay:
    """Delivers messages. A channel that is down delays only the messages that go through it."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[Method, Channel],
        verifier: Verifier,
        settings: EngineSettings,
        owner: str,
    ) -> None:
        self._store = store
        self._channels = channels
        self._verifier = verifier
        self._settings = settings
        self._owner = owner

    async def relay(self) -> bool:
        """Deliver the messages of one stretch of the journal; answer whether there may be more."""
        outbox = await self._store.read_outbox(self._owner, STRETCH)
        if outbox is None:
            return False
        backoff_ms = round(self._settings.message_backoff_s * 1000)
        untold = await self._deliver_all(outbox.notices)
        await self._store.record_deliveries(outbox.claim, outbox.cursor, backoff_ms, untold)
        return outbox.entries == STRETCH

    async def deliver_again(self, message: ClaimedMessage) -> None:
        """Try a message that failed before; after the last attempt it is dead until somebody sends it again."""
        untold = await self._deliver_all([message.notice], message.channel)
        attempts = message.attempts + 1
        error = untold[0].error if untold else ""
        if not untold:
            status = "sent"
        elif not error:
            status = "stale"
        else:
            status = "waiting" if attempts < self._settings.message_attempts else "dead"
        backoff_s = self._settings.message_backoff_s * 2 ** (attempts - 1)
        await self._store.record_attempt(message, status, error, round(backoff_s * 1000))

    async def _deliver_all(
        self, notices: Sequence[Notice], channel: Method | None = None
    ) -> list[UntoldNotice]:
        """Deliver side by side, all within the time for one; answer what was not delivered.

        Whatever goes wrong with one message must not hold up the others.
        """
        if not notices:
            return []
        reached = [channel or _channel_for(notice) for notice in notices]
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
        errors = [_error_of(delivery) for delivery in deliveries]
        return [
            UntoldNotice(notice, through, error)
            for notice, through, error in zip(notices, reached, errors, strict=True)
            if error is not None
        ]

    async def _deliver(self, notice: Notice, channel: Method) -> bool:
        """Deliver; False when there is nothing to tell any more."""
        parcel, code = notice.parcel, None
        if parcel is None:
            return False
        if notice.kind == "confirmation.code":
            if parcel.status != "requires_confirmation" or notice.issue is None or parcel.issue != notice.issue:
                return False  # a code that is not current any more
            code = await self._verifier.code(parcel.terms, notice.issue)
            if code is None:
                return False
        message = OutgoingMessage(
            event_id=event_id(notice.entry_id),
            user_id=parcel.user_id,
            channel=channel,
            to=(parcel.email if channel == "email" else parcel.phone) or "",
            kind=notice.kind,
            text=message_text(notice, parcel, code),
            code=code,
            payment_id=parcel.payment_id,
            amount=parcel.amount,
            currency=parcel.currency,
            payee=parcel.merchant,
        )
        await self._channels[channel].deliver(message)
        return True


def event_id(entry_id: str) -> str:
    """Answer the public id of a journal entry; the partition is part of it."""
    return f"evt_00{entry_id}"


def _error_of(delivery: asyncio.Task[bool]) -> str | None:
    """Answer what went wrong, '' when there was nothing to tell, None when the message was taken."""
    if not delivery.done() or delivery.cancelled():
        return "TimeoutError"
    error = delivery.exception()
    if error is not None:
        logger.info("a message was not taken: %r", error)
        return (str(error) or type(error).__name__)[:ERROR_LENGTH_MAX]
    return None if delivery.result() else ""


def _channel_for(notice: Notice) -> Method:
    """Answer where a user is told first: codes where it was chosen, the rest by e-mail if there is one."""
    parcel = notice.parcel
    if parcel is None:
        return "email"
    if notice.kind == "confirmation.code" and parcel.method:
        return parcel.method
    return "email" if parcel.email else "sms"
