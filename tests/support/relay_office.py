from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from support.scenes import quick_settings
from support.stand_ins import ManualClock, make_context

from technopay.engine import MessageCode, RecordingChannel
from technopay.engine.claims import Claims
from technopay.engine.commands import (
    ClaimRelay,
    Command,
    ReadNotificationContexts,
    RecordAttempt,
    RecordDeliveries,
)
from technopay.engine.notifications.relay import BATCH, Relay
from technopay.engine.ports import Outcome, OutgoingMessage
from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import (
    BEGINNING,
    ClaimedMessage,
    FailedDelivery,
    JournalBatch,
    JournalEntry,
    Notification,
    NotificationContext,
    PaymentTerms,
    Position,
)
from technopay.engine.verifiers.code_keys import CodeKeys

SETTINGS = quick_settings(message_backoff_s=1.0, message_attempts=3, message_timeout_s=0.05)
VERIFIER = MessageCode(code_key=b"code")
TERMS = PaymentTerms("pay_001", 1_234, "EUR", "bookshop")
BY_SMS = make_context(method="sms")
ENTRY_TYPES = {"confirmation.code": "payment.started"}
"""Of the kinds of messages that are not called like their entries."""


def code_notification(
    number: int = 1, context: NotificationContext | None = BY_SMS, code_version: int | None = 1
) -> Notification:
    """Make the notification of a code. By sms, unless its context says otherwise: news go by e-mail."""
    return Notification(f"{number}-0", "confirmation.code", code_version, "", context)


def news(number: int = 1, kind: str = "payment.succeeded", reason: str = "", **changes: Any) -> Notification:
    return Notification(
        f"{number}-0", kind, None, reason, make_context(status="succeeded", code_version=None, **changes)
    )


def entry_for(notification: Notification) -> JournalEntry:
    """Make the entry of the journal that causes a notification."""
    fields = {"reason": notification.reason} if notification.reason else {}
    if notification.code_version is not None:
        fields["issue"] = str(notification.code_version)
    if notification.kind == "payment.canceled":
        fields["by"] = "void"
    entry_type = ENTRY_TYPES.get(notification.kind, notification.kind)
    return JournalEntry(notification.entry_id, entry_type, subject_of(notification), fields)


def subject_of(notification: Notification) -> str:
    return notification.context.payment_id if notification.context else "pay_00gone"


class OutboxStore:
    """Of a store, what the relay needs of it."""

    partitions = (0,)

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.contexts: dict[str, NotificationContext | None] = {}
        self.recorded: list[tuple[str, str, int, list[FailedDelivery]]] = []
        self.attempts: list[tuple[str, str, int]] = []
        self.unreadable = UnreadableRecords()

    def write(self, *notifications: Notification, entries: int | None = None) -> None:
        """Write the entries that cause these notifications, behind as many others as there are to be."""
        others = 0 if entries is None else entries - len(notifications)
        self.entries = [JournalEntry(f"0-{number}", "user.created", "alice", {}) for number in range(others)]
        self.entries += map(entry_for, notifications)
        self.contexts = {each.entry_id: each.context for each in notifications}

    async def run(self, command: Command[Any]) -> Outcome[Any]:
        match command:
            case ClaimRelay():
                assert (command.partition, command.owner) == (0, "owner")
                return Outcome("ok", "0-0", token="7") if self.entries else Outcome("nothing")
            case ReadNotificationContexts():
                assert len(command.payment_ids) == len(self.contexts)
                return Outcome("ok", list(self.contexts.values()))
            case RecordDeliveries():
                self.recorded.append((command.claim, command.cursor, command.retry_ms, list(command.failed)))
                return Outcome("ok")
            case RecordAttempt():
                self.attempts.append((command.fate, command.error, command.retry_ms))
                return Outcome("ok")
        raise AssertionError(command)

    async def read_journal(self, partition: int, after: Position, limit: int) -> JournalBatch:
        assert (partition, after, limit) == (0, BEGINNING, BATCH)
        return JournalBatch(self.entries, Position.of(self.entries[-1].id), len(self.entries) < limit)


class HangingChannel:
    """A channel that never answers; it may even ignore its cancellation."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self._stubborn = stubborn
        self.cancellations = 0

    async def deliver(self, message: OutgoingMessage) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancellations += 1
                if not self._stubborn or self.cancellations > 1:
                    raise


class MeetingChannel:
    """A channel that takes messages only when so many come at the same time."""

    def __init__(self, parties: int) -> None:
        self._barrier = asyncio.Barrier(parties)

    async def deliver(self, message: OutgoingMessage) -> None:
        await self._barrier.wait()


@dataclass
class Office:
    """A relay with its store and its channels."""

    store: OutboxStore = field(default_factory=OutboxStore)
    email: Any = field(default_factory=RecordingChannel)
    sms: Any = field(default_factory=RecordingChannel)
    verifier: Any = VERIFIER

    @property
    def relay(self) -> Relay:
        store: Any = self.store
        channels: dict[Any, Any] = {"email": self.email, "sms": self.sms}
        there = {name: channel for name, channel in channels.items() if channel}
        keys, claims = CodeKeys(SETTINGS, self.verifier), Claims(store, ManualClock())
        return Relay(store, there, keys, SETTINGS, "owner", claims)

    async def relay_all(self, *notifications: Notification, entries: int | None = None) -> bool:
        """Relay a batch with these notifications; return whether there may be more."""
        self.store.write(*notifications, entries=entries)
        return await self.relay.step()

    async def sent(self, *notifications: Notification) -> list[OutgoingMessage]:
        """Relay a batch with these notifications; return the messages that were sent."""
        await self.relay_all(*notifications)
        return [each for channel in (self.email, self.sms) if channel for each in channel.messages]

    async def deliver_again(self, message: ClaimedMessage) -> None:
        await self.relay.deliver_again(0, message)

    @property
    def fates(self) -> list[str]:
        """What became of the messages that were not delivered."""
        return [each.fate for *_, failed in self.store.recorded for each in failed]

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """The messages that were not delivered: the entry, the channel, and the error."""
        return [
            (each.entry_id, each.channel, each.error) for *_, failed in self.store.recorded for each in failed
        ]
