from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.scenes import quick_settings
from support.stand_ins import ManualClock, make_parcel, settle
from technopay.engine.relay import STRETCH

from technopay.engine import FixedCode, MessageCode, RecordingChannel
from technopay.engine.claims import Claims
from technopay.engine.notifications.relay import Relay
from technopay.engine.ports import Outbox, OutgoingMessage
from technopay.engine.values import (
    ClaimedMessage,
    FailedDelivery,
    Fate,
    Notification,
    NotificationContext,
    PaymentTerms,
)
from technopay.engine.verifiers.code_keys import CodeKeys

SETTINGS = quick_settings(message_backoff_s=1.0, message_attempts=3, message_timeout_s=0.05)
VERIFIER = MessageCode(code_key=b"code")
TERMS = PaymentTerms("pay_001", 1_234, "EUR", "bookshop")
BY_SMS = make_parcel(method="sms")


def code_notice(
    number: int = 1, parcel: NotificationContext | None = BY_SMS, issue: int | None = 1
) -> Notification:
    """A notice of a code. By sms, unless its parcel says otherwise: the news below go by e-mail."""
    return Notification(f"{number}-0", "confirmation.code", issue, "", parcel)


def news(number: int = 1, kind: str = "payment.succeeded", reason: str = "", **changes: Any) -> Notification:
    return Notification(
        f"{number}-0", kind, None, reason, make_parcel(status="succeeded", issue=None, **changes)
    )


@dataclass
class OutboxStore:
    """Of a store, what the relay needs of it."""

    outbox: Outbox | None = None
    recorded: list[tuple[str, str, int, list[FailedDelivery]]] = field(default_factory=list)
    attempts: list[tuple[str, str, int]] = field(default_factory=list)

    async def read_outbox(self, owner: str, count: int) -> Outbox | None:
        assert (owner, count) == ("owner", STRETCH)
        return self.outbox

    async def record_deliveries(
        self, claim: str, cursor: str, retry_ms: int, untold: Sequence[FailedDelivery]
    ) -> bool:
        self.recorded.append((claim, cursor, retry_ms, list(untold)))
        return True

    async def record_attempt(self, message: ClaimedMessage, fate: Fate, error: str, retry_ms: int) -> bool:
        self.attempts.append((fate, error, retry_ms))
        return True


class HangingChannel:
    """A channel that never answers; it may even take no notice of being told to stop."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self._stubborn = stubborn
        self.told_to_stop = 0

    async def deliver(self, message: OutgoingMessage) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.told_to_stop += 1
                if not self._stubborn or self.told_to_stop > 1:
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

    async def tell(self, *notices: Notification, entries: int | None = None) -> bool:
        """Relay a stretch with these notices; answer whether there may be more."""
        cursor = notices[-1].entry_id if notices else "9-0"
        self.store.outbox = Outbox("7", notices, cursor, len(notices) if entries is None else entries)
        return await self.relay.relay()

    async def sent(self, *notices: Notification) -> list[OutgoingMessage]:
        """Relay a stretch with these notices; answer the messages that went out."""
        await self.tell(*notices)
        return [each for channel in (self.email, self.sms) if channel for each in channel.messages]

    @property
    def fates(self) -> list[str]:
        """What became of what was not delivered."""
        return [each.fate for *_, untold in self.store.recorded for each in untold]

    @property
    def untold(self) -> list[tuple[str, str, str]]:
        """What was not delivered: its entry, its channel, and why."""
        return [
            (each.notice.entry_id, each.channel, each.error)
            for *_, untold in self.store.recorded
            for each in untold
        ]


async def test_a_started_payment_sends_its_code() -> None:
    office = Office()

    (message,) = await office.sent(code_notice(parcel=make_parcel()))

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
    assert office.untold == []


async def test_a_stretch_without_messages_is_passed_over_and_read_once() -> None:
    office = Office()

    assert await office.sent() == []
    assert office.store.recorded == [("7", "9-0", 1_000, [])]


@pytest.mark.parametrize(
    "notice",
    [
        code_notice(parcel=make_parcel(issue=2)),
        code_notice(parcel=make_parcel(status="processing", issue=None)),
        code_notice(parcel=make_parcel(status="expired")),
        code_notice(parcel=make_parcel(issue=None), issue=None),
        code_notice(parcel=None),
    ],
    ids=["resent since", "confirmed since", "expired since", "of no issue", "gone since"],
)
async def test_a_stale_code_is_not_sent_and_recorded_without_an_error(notice: Notification) -> None:
    office = Office()

    assert await office.sent(notice) == []
    assert office.untold == [("1-0", "email", "")]
    assert office.fates == ["stale"], "it counts as a code: it could have been sent"


async def test_a_resent_code_is_the_one_of_its_issue() -> None:
    office, parcel = Office(), make_parcel(issue=2)

    (message,) = await office.sent(code_notice(1, parcel, issue=1), code_notice(2, parcel, issue=2))

    assert message.event_id == "evt_002-0"
    assert message.code == await VERIFIER.code(TERMS, 2)
    assert office.untold == [("1-0", "email", "")]


async def test_a_verifier_that_sends_no_code_sends_no_message() -> None:
    office = Office(verifier=FixedCode())

    assert await office.sent(code_notice()) == []
    assert office.untold == [("1-0", "sms", "")]
    assert office.fates == ["unsent"]

    for attempts in (0, 1):
        await office.relay.deliver_again(ClaimedMessage(code_notice(), "sms", attempts, "3"))
    assert [fate for fate, *_ in office.store.attempts] == ["unsent", "stale"]


async def test_a_code_of_a_key_that_only_others_know_is_left_to_them() -> None:
    office, notice = Office(), code_notice(parcel=make_parcel(key_id="ffffffff"))

    assert await office.sent(notice) == []
    assert office.fates == ["left"]

    for attempts in (0, SETTINGS.message_attempts):
        await office.relay.deliver_again(ClaimedMessage(notice, "email", attempts, "3"))
    assert [fate for fate, *_ in office.store.attempts] == ["left", "left"], "never dead"


async def test_a_code_goes_the_way_that_was_chosen_and_news_the_first_way_there_is() -> None:
    office = Office()
    (code,) = await office.sent(code_notice(parcel=BY_SMS))
    assert (code.channel, code.to) == ("sms", "+15550100")

    for email, phone, channel in (("a@b.c", "+1", "email"), (None, "+1", "sms")):
        office = Office()
        (told,) = await office.sent(news(email=email, phone=phone, method="sms"))
        assert (told.channel, told.to) == (channel, email or phone)


@pytest.mark.parametrize(("notice", "missing"), [(news(email=None), "sms"), (code_notice(), "sms")])
async def test_a_message_without_a_channel_is_never_sent(notice: Notification, missing: str) -> None:
    office = Office(sms=None)

    assert await office.sent(notice) == []

    assert office.fates == ["waiting"]
    assert office.untold == [("1-0", missing, f"there is no channel for {missing}")]


async def test_what_a_channel_does_not_take_waits_with_the_reason() -> None:
    office, notice = Office(), news()
    office.email.error = ConnectionError("x" * 1_000)

    await office.tell(notice)

    assert office.store.recorded == [
        ("7", "1-0", 1_000, [FailedDelivery(notice, "email", "waiting", "x" * 200)])
    ]


@pytest.mark.parametrize(("error", "reason"), [(ValueError(), "ValueError"), (KeyError("sms"), "'sms'")])
async def test_a_failure_without_words_still_has_a_name(error: Exception, reason: str) -> None:
    office = Office()
    office.email.error = error

    await office.tell(news())

    assert office.untold == [("1-0", "email", reason)]


async def test_a_verifier_that_fails_costs_only_its_message() -> None:
    class BrokenVerifier(FixedCode):
        async def code(self, terms: PaymentTerms, issue: int) -> str | None:
            raise ConnectionError("the vault is shut")

    office = Office(verifier=BrokenVerifier())

    (told,) = await office.sent(code_notice(1), news(2))

    assert told.kind == "payment.succeeded"
    assert office.untold == [("1-0", "sms", "the vault is shut")]


@pytest.mark.parametrize("trouble", ["hangs", "hangs and takes no notice", "fails"])
async def test_a_channel_in_trouble_does_not_stop_the_other(trouble: str) -> None:
    office = Office()
    if trouble == "fails":
        office.email.error = ConnectionError("down")
    else:
        office.email = HangingChannel(stubborn=trouble != "hangs")

    await office.tell(news(1), code_notice(2), news(3))

    assert [message.kind for message in office.sms.messages] == ["confirmation.code"]
    error = "down" if trouble == "fails" else "TimeoutError"
    assert office.untold == [("1-0", "email", error), ("3-0", "email", error)]
    await stop_what_still_hangs()


async def stop_what_still_hangs() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_the_messages_of_a_stretch_are_delivered_side_by_side_within_the_time_for_one() -> None:
    office = Office(email=HangingChannel(), sms=MeetingChannel(20))
    notices = [code_notice(number) if number % 2 else news(number) for number in range(40)]
    began = asyncio.get_running_loop().time()

    async with asyncio.timeout(10 * SETTINGS.message_timeout_s):
        await office.tell(*notices)

    assert asyncio.get_running_loop().time() - began >= SETTINGS.message_timeout_s * 0.9
    assert office.untold == [(f"{number}-0", "email", "TimeoutError") for number in range(0, 40, 2)]
    assert office.email.told_to_stop == 20
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_relay_that_is_stopped_leaves_no_delivery_behind() -> None:
    office = Office(email=HangingChannel())
    office.store.outbox = Outbox("7", [news()], "1-0", 1)
    relaying = asyncio.create_task(office.relay.relay())
    await settle()
    assert len(asyncio.all_tasks()) == 3

    relaying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await relaying
    await asyncio.sleep(0)

    assert office.email.told_to_stop == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert office.store.recorded == [], "what was not seen through is relayed again"


async def test_there_may_be_more_when_a_stretch_was_full() -> None:
    """Whatever is in it: most entries are no messages."""
    assert await Office().tell(entries=STRETCH)
    assert await Office().tell(news(), entries=STRETCH)
    assert not await Office().tell(entries=STRETCH - 1)


async def test_with_nothing_to_relay_nothing_is_written() -> None:
    office = Office(OutboxStore(outbox=None))

    assert not await office.relay.relay()
    assert office.store.recorded == []


async def test_a_message_that_waited_is_sent_under_the_same_event_id_through_its_channel() -> None:
    office = Office()
    (first,) = await office.sent(news())

    await office.relay.deliver_again(ClaimedMessage(news(), "email", 1, "3"))
    await office.relay.deliver_again(ClaimedMessage(news(), "sms", 1, "3"))

    assert office.email.messages == [first, first]
    assert [(message.event_id, message.to) for message in office.sms.messages] == [("evt_001-0", "+15550100")]
    assert office.store.attempts == [("sent", "", 1_000 * 2), ("sent", "", 1_000 * 2)]


async def test_a_message_is_tried_ever_more_slowly_and_is_dead_after_the_last_attempt() -> None:
    office = Office()
    office.email.error = ConnectionError("down")

    for attempts in (0, 1, 2):
        await office.relay.deliver_again(ClaimedMessage(news(), "email", attempts, "3"))

    assert office.store.attempts[:2] == [("waiting", "down", 1_000), ("waiting", "down", 2_000)]
    assert office.store.attempts[2][:2] == ("dead", "down")


async def test_a_message_that_hangs_again_waits_again() -> None:
    office = Office(email=HangingChannel())

    await office.relay.deliver_again(ClaimedMessage(news(), "email", 0, "3"))

    assert office.store.attempts == [("waiting", "TimeoutError", 1_000)]


@pytest.mark.parametrize("parcel", [make_parcel(issue=2), None], ids=["resent since", "gone since"])
async def test_a_code_that_went_stale_while_it_waited_is_given_up(parcel: NotificationContext | None) -> None:
    office = Office()

    await office.relay.deliver_again(ClaimedMessage(code_notice(parcel=parcel), "email", 1, "3"))

    assert office.email.messages == []
    assert [status for status, _, _ in office.store.attempts] == ["stale"]
