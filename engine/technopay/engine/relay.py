"""The relay: reads the journal as an outbox and sees to it that every message is delivered, at least once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from technopay.engine.messages import message_kind, message_text
from technopay.engine.models import Method
from technopay.engine.ports import (
    Channel,
    ClaimedMessage,
    Delivery,
    JournalEntry,
    OutgoingMessage,
    Parcel,
    PaymentTerms,
    Store,
    Verifier,
)
from technopay.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

STRETCH = 100
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
        if outbox is None or not outbox[1]:
            return False
        claim, entries = outbox
        due = [(entry, kind) for entry in entries if (kind := message_kind(entry))]
        tried = await asyncio.gather(*(self._deliver_first(entry, kind) for entry, kind in due))
        await self._store.record_deliveries(
            claim,
            entries[-1].id,
            round(self._settings.message_backoff_s * 1000),
            [delivery for delivery in tried if delivery],
        )
        return len(entries) == STRETCH

    async def deliver_again(self, message: ClaimedMessage) -> None:
        """Try a message that failed before; after the last attempt it is dead until somebody sends it again."""
        error = await self._deliver(message.entry, message.kind, message.channel)
        attempts = message.attempts + 1
        if error is None:
            status = "stale"
        elif not error:
            status = "sent"
        else:
            status = "waiting" if attempts < self._settings.message_attempts else "dead"
        backoff_s = self._settings.message_backoff_s * 2 ** (attempts - 1)
        await self._store.record_attempt(message, status, error or "", round(backoff_s * 1000))

    async def _deliver_first(self, entry: JournalEntry, kind: str) -> Delivery | None:
        parcel = await self._store.read_parcel(entry.fields["payment"])
        if parcel is None:
            return None
        channel = _channel_for(kind, parcel)
        if channel is None:
            return None
        error = await self._send(entry, kind, channel, parcel)
        if error is None:
            return None
        payment = parcel.payment
        return Delivery(entry.id, payment.user_id, channel, kind, payment.id, error)

    async def _deliver(self, entry: JournalEntry, kind: str, channel: Method) -> str | None:
        parcel = await self._store.read_parcel(entry.fields["payment"])
        return None if parcel is None else await self._send(entry, kind, channel, parcel)

    async def _send(self, entry: JournalEntry, kind: str, channel: Method, parcel: Parcel) -> str | None:
        """Deliver; '' when it was taken, what went wrong when not, None when there is nothing to tell any more.

        Whatever goes wrong with one message must not hold up the others.
        """
        try:
            message = await self._compose(entry, kind, channel, parcel)
            if message is None:
                return None
            async with asyncio.timeout(self._settings.message_timeout_s):
                await self._channels[channel].deliver(message)
        except Exception as error:
            logger.info("message %s was not taken by %s: %r", event_id(entry.id), channel, error)
            return (str(error) or type(error).__name__)[:ERROR_LENGTH_MAX]
        return ""

    async def _compose(
        self, entry: JournalEntry, kind: str, channel: Method, parcel: Parcel
    ) -> OutgoingMessage | None:
        """Write a message; None for a code that is not current any more."""
        payment, code = parcel.payment, None
        if kind == "confirmation.code":
            if payment.status != "requires_confirmation" or str(parcel.issue) != entry.fields["issue"]:
                return None
            terms = PaymentTerms(payment.id, payment.amount, payment.currency, payment.merchant)
            code = await self._verifier.code(terms, int(entry.fields["issue"]))
            if code is None:
                return None
        return OutgoingMessage(
            event_id=event_id(entry.id),
            user_id=payment.user_id,
            channel=channel,
            to=(parcel.email if channel == "email" else parcel.phone) or "",
            kind=kind,
            text=message_text(kind, payment, entry, code),
            payment_id=payment.id,
            code=code,
        )


def event_id(entry_id: str) -> str:
    """Answer the public id of a journal entry; the partition is part of it."""
    return f"evt_00{entry_id}"


def _channel_for(kind: str, parcel: Parcel) -> Method | None:
    if kind == "confirmation.code" and parcel.payment.confirmation:
        return parcel.payment.confirmation.method
    if parcel.email:
        return "email"
    return "sms" if parcel.phone else None
