"""The relay: reads the journal as an outbox and delivers every message at least once."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from technopay.engine import tracing
from technopay.engine.claims import Claims
from technopay.engine.commands import ClaimRelay, RecordAttempt, RecordDeliveries
from technopay.engine.errors import Fault
from technopay.engine.fields import is_line
from technopay.engine.models import Method
from technopay.engine.notifications.texts import message_text
from technopay.engine.ports import Channel, Clock, OutgoingMessage, Store
from technopay.engine.settings import EngineSettings
from technopay.engine.values import (
    ClaimedMessage,
    FailedDelivery,
    Fate,
    News,
    Notification,
)
from technopay.engine.verifiers.code_keys import CodeKeys

logger = logging.getLogger(__name__)

BATCH, BATCH_BEHIND = 250, 1_000
"""Entries that are read at a time: more only by a relay that is behind, because all scripts wait."""
ERROR_LENGTH_MAX = 200
RETRIES_MAX = 1_000
"""Retries of messages at a time."""
OUTCOMES = {
    ("payment.succeeded", ""): "succeeded",
    ("payment.failed", "settlement_failed"): "settlement_failed",
    ("payment.failed", "too_many_attempts"): "too_many_attempts",
    ("payment.canceled", ""): "canceled",
    ("payment.expired", ""): "expired",
    ("payment.refunded", ""): "refunded",
}
"""The outcomes of payments, by the kind of their last message and its reason."""


class UnreadableError(Exception):
    """Raised when the context of a message is unreadable: the message is dead."""


class Relay:
    """Delivers messages. A channel that is down delays only its own messages."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[Method, Channel],
        keys: CodeKeys,
        clock: Clock,
        settings: EngineSettings,
        owner: str,
        claims: Claims,
    ) -> None:
        self._store = store
        self._clock = clock
        self._claims = claims
        self._retries: set[asyncio.Task[None]] = set()
        self._behind: set[int] = set()
        self._channels = channels
        self._keys = keys
        self._settings = settings
        self._owner = owner
        self._tracing = tracing.active()
        self.payments: Counter[tuple[str, str]] = Counter()
        """Payments by outcome and currency: each is counted by the one engine that relays its entry."""
        self.messages_dead = 0

    async def step(self, partition: int) -> bool:
        """Deliver the messages of a batch of a journal; return whether there may be more."""
        since = self._clock.monotonic()
        limit = BATCH_BEHIND if partition in self._behind else BATCH
        claimed = await self._store.run(ClaimRelay(partition, self._owner, limit))
        if claimed.code != "ok" or claimed.value is None:
            return False
        news, token = claimed.value, claimed.token
        with self._claims.holding("relay", partition, "", token, since) as claim:
            failed = await self._deliver_all(partition, news.notifications)
        retry_ms = round(self._settings.message_backoff_s * 1000)
        recorded = RecordDeliveries(partition, token, news.end, retry_ms, failed)
        if (await self._store.run(recorded)).code != "ok":
            self._claims.lose(claim)
        else:
            self._count(news)
            self.messages_dead += sum(each.fate == "dead" for each in failed)
        self._behind.discard(partition)
        if not news.is_last:
            self._behind.add(partition)
        return not news.is_last

    def retry(self, partition: int, message: ClaimedMessage, since: float) -> None:
        """Begin a retry of a message, claimed `since`; one beyond the bound stays on the agenda."""
        if len(self._retries) < RETRIES_MAX:
            task = asyncio.get_running_loop().create_task(self._try_again(partition, message, since))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)

    async def drain(self, drain_s: float) -> None:
        """Wait for the running retries, but not longer than `drain_s`."""
        if self._retries:
            _, late = await asyncio.wait(self._retries, timeout=drain_s)
            for task in late:
                task.cancel()

    async def _try_again(self, partition: int, message: ClaimedMessage, since: float) -> None:
        entry_id = message.notification.entry_id
        try:
            await self.deliver_again(partition, message, since)
        except Fault as fault:
            logger.warning("message %s stays on the agenda: %s", entry_id, fault.code)
        except Exception:
            logger.exception("the retry of message %s failed; it stays on the agenda", entry_id)

    async def deliver_again(self, partition: int, message: ClaimedMessage, since: float) -> None:
        """Try a failed message; after the last attempt it is dead until an operator sends it again."""
        entry_id = message.notification.entry_id
        with self._claims.holding("message", partition, entry_id, message.claim, since) as claim:
            failed = await self._deliver_all(partition, [message.notification], message.channel)
        attempts = message.attempts + 1
        fate, error = (failed[0].fate, failed[0].error) if failed else ("sent", "")
        if fate == "unsent" and message.attempts:
            fate = "stale"  # an earlier attempt may have sent it
        if fate == "waiting" and attempts >= self._settings.message_attempts:
            fate = "dead"
        retry_ms = round(self._settings.message_backoff_s * 2 ** (attempts - 1) * 1000)
        attempt = RecordAttempt(partition, entry_id, message.claim, fate, error, retry_ms)
        if (await self._store.run(attempt)).code != "ok":
            self._claims.lose(claim)
        else:
            self.messages_dead += fate == "dead"

    def _count(self, news: News) -> None:
        """Count the payments that ended in a batch of the journal."""
        self.payments.update(("canceled", currency) for currency in news.canceled)
        for each in news.notifications:
            outcome = OUTCOMES.get((each.kind, each.reason))
            if outcome and each.context and each.context.currency:
                self.payments[outcome, each.context.currency] += 1

    async def _deliver_all(
        self, partition: int, notifications: Sequence[Notification], channel: Method | None = None
    ) -> list[FailedDelivery]:
        """Deliver in parallel, within the time-out of one; return the failed deliveries.

        An error of one message must not delay the others.
        """
        if not notifications:
            return []
        implied = [_implied_channel(notification) for notification in notifications]
        reached = [channel or self._channel_for(*each) for each in zip(notifications, implied, strict=True)]
        deliver = self._deliver_traced if self._tracing else self._deliver
        deliveries = [
            asyncio.create_task(deliver(partition, notification, through))
            for notification, through in zip(notifications, reached, strict=True)
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
            _failed(notification, through, fate, error)
            for notification, own, through, (fate, error) in zip(
                notifications, implied, reached, fates, strict=True
            )
            if fate != "sent" or through != own
        ]

    def _channel_for(self, notification: Notification, implied: Method) -> Method:
        """Return the implied channel of a message or, if this engine lacks it, the other one of the user."""
        context = notification.context
        if implied in self._channels or context is None or notification.kind == "confirmation.code":
            return implied
        other: Method = "sms" if implied == "email" else "email"
        return other if other in self._channels and context.phone and context.email else implied

    async def _deliver_traced(self, partition: int, notification: Notification, channel: Method) -> Fate:
        assert self._tracing is not None
        payment_id = notification.context.payment_id if notification.context else ""
        with self._tracing.payment("message", payment_id, kind=notification.kind, channel=channel) as span:
            fate = await self._deliver(partition, notification, channel)
            span.set_attribute("technopay.fate", fate)
            return fate

    async def _deliver(self, partition: int, notification: Notification, channel: Method) -> Fate:
        """Deliver a message, if it still has to be sent."""
        context, code = notification.context, None
        if context is None:
            return "stale"
        to = (context.email if channel == "email" else context.phone) or ""
        if context.status == "unreadable" or not is_line(to):
            self._store.unreadable.note("message", notification.entry_id)
            raise UnreadableError("the record or its address cannot be read")
        if notification.kind == "confirmation.code":
            version = notification.code_version
            is_current = context.status == "requires_confirmation" and context.code_version == version
            verifier = self._keys.verifier(context.key_id)
            if version is None or (verifier is None and not is_current):
                return "stale"
            if verifier is None:
                return "left"
            code = await verifier.code(context.terms, version)
            if code is None:
                return "unsent"
            if not is_current:
                return "stale"  # it counts as a code: a newer one replaced it before it was sent
        message = OutgoingMessage(
            event_id=f"evt_{partition:02x}{notification.entry_id}",
            user_id=context.user_id,
            channel=channel,
            to=to,
            kind=notification.kind,
            text=message_text(notification, context, code),
            code=code,
            payment_id=context.payment_id,
            amount=context.amount,
            currency=context.currency,
            payee=context.merchant,
        )
        through = self._channels.get(channel)
        if through is None:
            raise ConnectionError(f"there is no channel for {channel}")
        await through.deliver(message)
        return "sent"


def _fate_of(delivery: asyncio.Task[Fate]) -> tuple[Fate, str]:
    """Return the fate of a message, and its error."""
    if not delivery.done() or delivery.cancelled():
        return "waiting", "TimeoutError"
    error = delivery.exception()
    if error is not None:
        logger.info("a message was not delivered: %r", error)
        fate: Fate = "dead" if isinstance(error, UnreadableError) else "waiting"
        return fate, (str(error) or type(error).__name__)[:ERROR_LENGTH_MAX]
    return delivery.result(), ""


def _failed(notification: Notification, channel: Method, fate: Fate, error: str) -> FailedDelivery:
    # Without a context the payment is gone. Only a retry can be without one, and its record exists.
    context = notification.context
    user_id, payment_id = (context.user_id, context.payment_id) if context else ("", "")
    return FailedDelivery(notification.entry_id, user_id, channel, notification.kind, payment_id, fate, error)


def _implied_channel(notification: Notification) -> Method:
    """Return the channel that a journal entry implies: a message that was sent by it needs no record."""
    context = notification.context
    if context is None:
        return "email"
    if notification.kind == "confirmation.code" and context.method:
        return context.method
    return "email" if context.email else "sms"
