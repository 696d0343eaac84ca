from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.scenes import quick_settings
from support.stand_ins import ManualClock, make_context, settle

from technopay.engine import FixedCode, MessageCode, RecordingChannel
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


async def test_a_started_payment_sends_its_code() -> None:
    office = Office()

    (message,) = await office.sent(code_notification(context=make_context()))

    code = await VERIFIER.code(TERMS, 1)
    assert message == OutgoingMessage(
        event_id="evt_001-0",
        user_id="alice",
        channel="email",
        to="alice@example.com",
        kind="confirmation.code",
        text=f"{code} is your code to pay 12.34 EUR to bookshop. Give it to nobody.",
        code=code,
        payment_id="pay_001",
        amount=1_234,
        currency="EUR",
        payee="bookshop",
    )
    assert office.store.recorded == [("7", "1-0", 1_000, [])], "what was delivered needs no record of its own"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("payment.succeeded", ""),
        ("payment.failed", "settlement_failed"),
        ("payment.refunded", ""),
        ("payment.refused", "insufficient_funds"),
        ("payment.canceled", ""),
        ("payment.expired", ""),
    ],
)
async def test_each_kind_of_message_goes_out_without_a_code(kind: str, reason: str) -> None:
    office = Office()

    (message,) = await office.sent(news(kind=kind, reason=reason))

    assert (message.kind, message.code) == (kind, None)
    assert office.failed == []


async def test_a_batch_without_messages_is_passed_over_and_read_once() -> None:
    office = Office()

    await office.relay_all(entries=3)

    assert office.email.messages == office.sms.messages == []
    assert office.store.recorded == [("7", "0-2", 1_000, [])]


@pytest.mark.parametrize(
    "notification",
    [
        code_notification(context=make_context(code_version=2)),
        code_notification(context=make_context(status="processing", code_version=None)),
        code_notification(context=make_context(status="expired")),
        code_notification(context=make_context(code_version=None), code_version=None),
    ],
    ids=["resent since", "confirmed since", "expired since", "of no version"],
)
async def test_a_stale_code_is_not_sent_and_recorded_without_an_error(notification: Notification) -> None:
    office = Office()

    assert await office.sent(notification) == []
    assert office.failed == [("1-0", "email", "")]
    assert office.fates == ["stale"], "it counts as a code: it could have been sent"


async def test_a_payment_that_is_gone_is_passed_over() -> None:
    office = Office()

    (message,) = await office.sent(code_notification(1, None), news(2))

    assert message.event_id == "evt_002-0"
    assert office.store.recorded == [("7", "2-0", 1_000, [])]


async def test_a_code_whose_version_cannot_be_read_is_dead_and_counted() -> None:
    office = Office()
    office.store.write(code_notification(1), news(2))
    office.store.entries[0].fields["issue"] = "one"  # type: ignore[index]

    await office.relay.step()

    assert [message.kind for message in office.email.messages] == ["payment.succeeded"]
    assert office.fates == ["dead"]
    assert office.store.unreadable.counts == {"message": 1}


async def test_the_id_of_an_event_names_the_partition_of_its_payment() -> None:
    (message,) = await Office().sent(news(payment_id="pay_2a1"))

    assert message.event_id == "evt_2a1-0"


async def test_a_resent_code_is_the_one_of_its_version() -> None:
    office, context = Office(), make_context(code_version=2)

    (message,) = await office.sent(
        code_notification(1, context, code_version=1), code_notification(2, context, code_version=2)
    )

    assert message.event_id == "evt_002-0"
    assert message.code == await VERIFIER.code(TERMS, 2)
    assert office.failed == [("1-0", "email", "")]


async def test_a_verifier_that_sends_no_code_sends_no_message() -> None:
    office = Office(verifier=FixedCode())

    assert await office.sent(code_notification()) == []
    assert office.failed == [("1-0", "sms", "")]
    assert office.fates == ["unsent"]

    for attempts in (0, 1):
        await office.deliver_again(ClaimedMessage(code_notification(), "sms", attempts, "3"))
    assert [fate for fate, *_ in office.store.attempts] == ["unsent", "stale"]


async def test_a_code_of_a_key_that_only_others_know_is_left_to_them() -> None:
    office, notification = Office(), code_notification(context=make_context(key_id="ffffffff"))

    assert await office.sent(notification) == []
    assert office.fates == ["left"]

    for attempts in (0, SETTINGS.message_attempts):
        await office.deliver_again(ClaimedMessage(notification, "email", attempts, "3"))
    assert [fate for fate, *_ in office.store.attempts] == ["left", "left"], "never dead"


async def test_a_code_goes_the_way_that_was_chosen_and_news_the_first_way_there_is() -> None:
    office = Office()
    (code,) = await office.sent(code_notification(context=BY_SMS))
    assert (code.channel, code.to) == ("sms", "+15550100")

    for email, phone, channel in (("a@b.c", "+1", "email"), (None, "+1", "sms")):
        office = Office()
        (message,) = await office.sent(news(email=email, phone=phone, method="sms"))
        assert (message.channel, message.to) == (channel, email or phone)


@pytest.mark.parametrize(("notification", "missing"), [(news(email=None), "sms"), (code_notification(), "sms")])
async def test_a_message_without_a_channel_is_never_sent(notification: Notification, missing: str) -> None:
    office = Office(sms=None)

    assert await office.sent(notification) == []

    assert office.fates == ["waiting"]
    assert office.failed == [("1-0", missing, f"there is no channel for {missing}")]


async def test_what_a_channel_does_not_take_waits_with_the_reason() -> None:
    office, notification = Office(), news()
    office.email.error = ConnectionError("x" * 1_000)

    await office.relay_all(notification)

    assert office.store.recorded == [
        (
            "7",
            "1-0",
            1_000,
            [FailedDelivery("1-0", "alice", "email", "payment.succeeded", "pay_001", "waiting", "x" * 200)],
        )
    ]


@pytest.mark.parametrize(("error", "reason"), [(ValueError(), "ValueError"), (KeyError("sms"), "'sms'")])
async def test_a_failure_without_words_still_has_a_name(error: Exception, reason: str) -> None:
    office = Office()
    office.email.error = error

    await office.relay_all(news())

    assert office.failed == [("1-0", "email", reason)]


async def test_a_verifier_that_fails_costs_only_its_message() -> None:
    class BrokenVerifier(FixedCode):
        async def code(self, terms: PaymentTerms, version: int) -> str | None:
            raise ConnectionError("the vault is shut")

    office = Office(verifier=BrokenVerifier())

    (message,) = await office.sent(code_notification(1), news(2))

    assert message.kind == "payment.succeeded"
    assert office.failed == [("1-0", "sms", "the vault is shut")]


@pytest.mark.parametrize("trouble", ["hangs", "hangs and ignores its cancellation", "fails"])
async def test_a_channel_in_trouble_does_not_stop_the_other(trouble: str) -> None:
    office = Office()
    if trouble == "fails":
        office.email.error = ConnectionError("down")
    else:
        office.email = HangingChannel(stubborn=trouble != "hangs")

    await office.relay_all(news(1), code_notification(2), news(3))

    assert [message.kind for message in office.sms.messages] == ["confirmation.code"]
    error = "down" if trouble == "fails" else "TimeoutError"
    assert office.failed == [("1-0", "email", error), ("3-0", "email", error)]
    await stop_what_still_hangs()


async def stop_what_still_hangs() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_the_messages_of_a_batch_are_delivered_side_by_side_within_the_time_for_one() -> None:
    office = Office(email=HangingChannel(), sms=MeetingChannel(20))
    notifications = [code_notification(number) if number % 2 else news(number) for number in range(40)]
    began = asyncio.get_running_loop().time()

    async with asyncio.timeout(10 * SETTINGS.message_timeout_s):
        await office.relay_all(*notifications)

    assert asyncio.get_running_loop().time() - began >= SETTINGS.message_timeout_s * 0.9
    assert office.failed == [(f"{number}-0", "email", "TimeoutError") for number in range(0, 40, 2)]
    assert office.email.cancellations == 20
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_relay_that_is_stopped_leaves_no_delivery_behind() -> None:
    office = Office(email=HangingChannel())
    office.store.write(news())
    relaying = asyncio.create_task(office.relay.step())
    await settle()
    assert len(asyncio.all_tasks()) == 3

    relaying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await relaying
    await asyncio.sleep(0)

    assert office.email.cancellations == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert office.store.recorded == [], "what was not seen through is relayed again"


async def test_there_may_be_more_when_a_batch_was_full() -> None:
    """Whatever is in it: most entries are no messages."""
    assert await Office().relay_all(entries=BATCH)
    assert await Office().relay_all(news(), entries=BATCH)
    assert not await Office().relay_all(entries=BATCH - 1)


async def test_with_nothing_to_relay_nothing_is_written() -> None:
    office = Office()

    assert not await office.relay.step()
    assert office.store.recorded == []


async def test_a_message_that_waited_is_sent_under_the_same_event_id_through_its_channel() -> None:
    office = Office()
    (first,) = await office.sent(news())

    await office.deliver_again(ClaimedMessage(news(), "email", 1, "3"))
    await office.deliver_again(ClaimedMessage(news(), "sms", 1, "3"))

    assert office.email.messages == [first, first]
    assert [(message.event_id, message.to) for message in office.sms.messages] == [("evt_001-0", "+15550100")]
    assert office.store.attempts == [("sent", "", 1_000 * 2), ("sent", "", 1_000 * 2)]


async def test_a_message_is_tried_ever_more_slowly_and_is_dead_after_the_last_attempt() -> None:
    office = Office()
    office.email.error = ConnectionError("down")

    for attempts in (0, 1, 2):
        await office.deliver_again(ClaimedMessage(news(), "email", attempts, "3"))

    assert office.store.attempts[:2] == [("waiting", "down", 1_000), ("waiting", "down", 2_000)]
    assert office.store.attempts[2][:2] == ("dead", "down")


async def test_a_message_that_hangs_again_waits_again() -> None:
    office = Office(email=HangingChannel())

    await office.deliver_again(ClaimedMessage(news(), "email", 0, "3"))

    assert office.store.attempts == [("waiting", "TimeoutError", 1_000)]


@pytest.mark.parametrize("context", [make_context(code_version=2), None], ids=["resent since", "gone since"])
async def test_a_code_that_went_stale_while_it_waited_is_given_up(context: NotificationContext | None) -> None:
    office = Office()

    await office.deliver_again(ClaimedMessage(code_notification(context=context), "email", 1, "3"))

    assert office.email.messages == []
    assert [status for status, _, _ in office.store.attempts] == ["stale"]
