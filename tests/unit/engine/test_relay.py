from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.scenes import quick_settings
from support.stand_ins import make_payment

from technopay.engine import Confirmation, FixedCode, MessageCode, Payment, RecordingChannel
from technopay.engine.models import from_ms
from technopay.engine.ports import ClaimedMessage, Delivery, JournalEntry, OutgoingMessage, Parcel, PaymentTerms
from technopay.engine.relay import STRETCH, Relay

SETTINGS = quick_settings(message_backoff_s=1.0, message_attempts=3, message_timeout_s=0.02)
VERIFIER = MessageCode(code_key=b"code", digest_key=b"digest")
WAITING = make_payment(
    status="requires_confirmation",
    confirmation=Confirmation(
        method="email", sent_to="a***", expires_at=from_ms(0), attempts_remaining=5, resends_remaining=3
    ),
)


def entry(number: int, kind: str, **fields: str) -> JournalEntry:
    return JournalEntry(f"{number}-0", kind, {"payment": "pay_001", **fields})


@dataclass
class OutboxStore:
    """Of a store, what the relay needs of it."""

    entries: list[JournalEntry] | None = field(default_factory=list)
    payment: Payment | None = WAITING
    email: str | None = "alice@example.com"
    phone: str | None = "+15550100"
    issue: int | None = 1
    recorded: list[tuple[str, str, int, list[Delivery]]] = field(default_factory=list)
    attempts: list[tuple[str, str, int]] = field(default_factory=list)

    async def read_outbox(self, owner: str, count: int) -> tuple[str, list[JournalEntry]] | None:
        assert count == STRETCH
        return None if self.entries is None else ("7", self.entries)

    async def read_parcel(self, payment_id: str) -> Parcel | None:
        assert payment_id == "pay_001"
        return Parcel(self.payment, self.email, self.phone, self.issue) if self.payment else None

    async def record_deliveries(
        self, claim: str, cursor: str, retry_ms: int, deliveries: list[Delivery]
    ) -> bool:
        self.recorded.append((claim, cursor, retry_ms, deliveries))
        return True

    async def record_attempt(self, message: ClaimedMessage, status: str, error: str, retry_ms: int) -> bool:
        self.attempts.append((status, error, retry_ms))
        return True


class HangingChannel:
    """A channel that never answers."""

    async def deliver(self, message: OutgoingMessage) -> None:
        await asyncio.get_running_loop().create_future()


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
        return Relay(store, {"email": self.email, "sms": self.sms}, self.verifier, SETTINGS, "owner")

    async def tell(self, *entries: JournalEntry) -> list[OutgoingMessage]:
        self.store.entries = list(entries)
        await self.relay.relay()
        return [*self.email.messages, *self.sms.messages]

    def deliveries(self) -> list[Delivery]:
        return [delivery for _, _, _, deliveries in self.store.recorded for delivery in deliveries]


async def test_a_started_payment_sends_its_code() -> None:
    office = Office()

    (message,) = await office.tell(entry(1, "payment.started", issue="1"))

    code = await VERIFIER.code(PaymentTerms("pay_001", 1_234, "EUR", "bookshop"), 1)
    assert message == OutgoingMessage(
        event_id="evt_001-0",
        user_id="alice",
        channel="email",
        to="alice@example.com",
        kind="confirmation.code",
        text=f"{code} is your code to pay 12.34 EUR to bookshop. Give it to nobody.",
        payment_id="pay_001",
        code=code,
    )
    assert office.store.recorded == [
        ("7", "1-0", 1_000, [Delivery("1-0", "alice", "email", "confirmation.code", "pay_001", "")])
    ]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("payment.succeeded", {}),
        ("payment.failed", {"reason": "settlement_failed"}),
        ("payment.refunded", {}),
        ("payment.refused", {"reason": "insufficient_funds"}),
        ("payment.canceled", {"by": "void"}),
        ("payment.expired", {}),
    ],
)
async def test_each_kind_of_message_goes_out_without_a_code(kind: str, fields: dict[str, str]) -> None:
    office = Office(OutboxStore(payment=make_payment()))

    (message,) = await office.tell(entry(1, kind, **fields))

    assert (message.kind, message.code) == (kind, None)
    assert [delivery.kind for delivery in office.deliveries()] == [kind]


async def test_what_is_no_message_is_passed_over_and_read_once() -> None:
    office = Office()

    sent = await office.tell(entry(1, "payment.processing"), entry(2, "payment.canceled", by="user"))

    assert sent == []
    assert office.store.recorded == [("7", "2-0", 1_000, [])]


@pytest.mark.parametrize(
    "store",
    [
        OutboxStore(issue=2),
        OutboxStore(payment=make_payment(status="processing"), issue=None),
        OutboxStore(payment=make_payment(status="expired")),
        OutboxStore(payment=None),
    ],
    ids=["resent since", "confirmed since", "expired since", "gone since"],
)
async def test_a_stale_code_is_not_sent(store: OutboxStore) -> None:
    office = Office(store)

    assert await office.tell(entry(1, "payment.started", issue="1")) == []
    assert office.deliveries() == []


async def test_a_resent_code_is_the_one_of_its_issue() -> None:
    office = Office(OutboxStore(issue=2))

    (message,) = await office.tell(
        entry(1, "payment.started", issue="1"), entry(2, "payment.code_resent", issue="2")
    )

    assert message.event_id == "evt_002-0"
    assert message.code == await VERIFIER.code(PaymentTerms("pay_001", 1_234, "EUR", "bookshop"), 2)


async def test_a_verifier_that_sends_no_code_sends_no_message() -> None:
    office = Office(verifier=FixedCode())

    assert await office.tell(entry(1, "payment.started", issue="1")) == []


async def test_a_code_goes_the_way_that_was_chosen_and_news_the_first_way_there_is() -> None:
    assert WAITING.confirmation is not None
    by_sms = WAITING.confirmation.model_copy(update={"method": "sms"})
    office = Office(OutboxStore(payment=WAITING.model_copy(update={"confirmation": by_sms})))
    (code,) = await office.tell(entry(1, "payment.started", issue="1"))
    assert (code.channel, code.to) == ("sms", "+15550100")

    for email, phone, channel in (("a@b.c", "+1", "email"), (None, "+1", "sms")):
        office = Office(OutboxStore(payment=make_payment(), email=email, phone=phone))
        (news,) = await office.tell(entry(1, "payment.succeeded"))
        assert (news.channel, news.to) == (channel, email or phone)


async def test_who_has_no_address_is_told_nothing() -> None:
    office = Office(OutboxStore(payment=make_payment(), email=None, phone=None))

    assert await office.tell(entry(1, "payment.succeeded")) == []
    assert office.deliveries() == []


async def test_what_a_channel_does_not_take_waits_with_the_reason() -> None:
    office = Office(OutboxStore(payment=make_payment()))
    office.email.error = ConnectionError("x" * 1_000)

    await office.tell(entry(1, "payment.succeeded"))

    assert [delivery.error for delivery in office.deliveries()] == ["x" * 200]


@pytest.mark.parametrize(("error", "reason"), [(ValueError(), "ValueError"), (KeyError("sms"), "'sms'")])
async def test_a_failure_without_words_still_has_a_name(error: Exception, reason: str) -> None:
    office = Office(OutboxStore(payment=make_payment()))
    office.email.error = error

    await office.tell(entry(1, "payment.succeeded"))

    assert [delivery.error for delivery in office.deliveries()] == [reason]


async def test_a_channel_that_hangs_or_fails_does_not_stop_the_other() -> None:
    for dead in (HangingChannel(), RecordingChannel()):
        office = Office(OutboxStore(payment=WAITING), email=dead)
        if isinstance(dead, RecordingChannel):
            dead.error = ConnectionError("down")
        assert WAITING.confirmation is not None
        by_sms = WAITING.confirmation.model_copy(update={"method": "sms"})
        office.store.payment = WAITING.model_copy(update={"confirmation": by_sms})
        office.store.entries = [
            entry(1, "payment.succeeded"),  # goes by e-mail
            entry(2, "payment.started", issue="1"),  # goes by sms
        ]

        await office.relay.relay()

        assert [message.kind for message in office.sms.messages] == ["confirmation.code"]
        failed, sent = office.deliveries()
        assert (failed.channel, bool(failed.error)) == ("email", True)
        assert (sent.channel, sent.error) == ("sms", "")


async def test_there_may_be_more_when_a_stretch_was_full() -> None:
    full = [entry(number, "payment.processing") for number in range(STRETCH)]

    assert await Office(OutboxStore(full)).relay.relay()
    assert not await Office(OutboxStore(full[1:])).relay.relay()


@pytest.mark.parametrize("entries", [None, []], ids=["another one relays", "nothing new"])
async def test_with_nothing_to_relay_nothing_is_written(entries: list[JournalEntry] | None) -> None:
    office = Office(OutboxStore(entries))

    assert not await office.relay.relay()
    assert office.store.recorded == []


def waiting_message(attempts: int) -> ClaimedMessage:
    return ClaimedMessage(entry(1, "payment.succeeded"), "payment.succeeded", "email", attempts, "3")


async def test_a_message_that_waited_is_sent_under_the_same_event_id() -> None:
    office = Office(OutboxStore(payment=make_payment()))
    (first,) = await office.tell(entry(1, "payment.succeeded"))

    await office.relay.deliver_again(waiting_message(1))

    assert office.email.messages == [first, first]
    assert [status for status, _, _ in office.store.attempts] == ["sent"]


async def test_a_message_is_tried_ever_more_slowly_and_is_dead_after_the_last_attempt() -> None:
    office = Office(OutboxStore(payment=make_payment()))
    office.email.error = ConnectionError("down")

    for attempts in (0, 1, 2):
        await office.relay.deliver_again(waiting_message(attempts))

    assert office.store.attempts[:2] == [("waiting", "down", 1_000), ("waiting", "down", 2_000)]
    assert office.store.attempts[2][:2] == ("dead", "down")


async def test_a_code_that_went_stale_while_it_waited_is_given_up() -> None:
    office = Office(OutboxStore(issue=2))
    code = ClaimedMessage(entry(1, "payment.started", issue="1"), "confirmation.code", "email", 1, "3")

    await office.relay.deliver_again(code)

    assert office.email.messages == []
    assert [status for status, _, _ in office.store.attempts] == ["stale"]
