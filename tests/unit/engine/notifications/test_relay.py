"""The relay: the messages that it sends, their recipients and their texts."""

import pytest
from support.fixtures.doubles import make_context
from support.fixtures.relay_setup import BY_SMS, SETTINGS, TERMS, VERIFIER, Office, code_notification, news

from technopay.engine import FixedCode
from technopay.engine.notifications.texts import ADDRESS_CHANGED, ADDRESS_TEXTS
from technopay.engine.ports import OutgoingMessage
from technopay.engine.values import (
    ClaimedMessage,
    Notification,
)


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
        ("payment.partially_refunded", "250"),
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

    await office.relay_all(end="0-2")

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


@pytest.mark.parametrize("version", ["one", "9" * 5_000])
async def test_a_code_whose_version_cannot_be_read_is_dead_and_counted(version: str) -> None:
    office = Office()

    await office.relay_all(Notification.of("1-0", "confirmation.code", version, "", make_context()), news(2))

    assert [message.kind for message in office.email.messages] == ["payment.succeeded"]
    assert office.fates == ["dead"]
    assert office.store.unreadable.counts == {"message": 1}


async def test_the_id_of_an_event_names_the_partition_of_its_journal() -> None:
    office = Office()
    notification = Notification("1-0", ADDRESS_CHANGED, None, "added", make_context(payment_id=""))
    await office.relay.deliver_again(42, ClaimedMessage(notification, "email", 0, "1"), 0.0)

    (message,) = office.email.messages
    assert (message.event_id, message.text) == ("evt_2a1-0", ADDRESS_TEXTS["added"])


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


async def test_each_end_of_a_payment_is_counted_by_its_currency_once_it_is_relayed() -> None:
    office = Office()
    relay = office.relay
    gone = Notification("9-0", "payment.expired", None, "", None)
    ends = [
        news(1), news(2, currency="USD"), news(3, kind="payment.failed", reason="settlement_failed"),
        news(4, kind="payment.failed", reason="too_many_attempts"), news(5, kind="payment.canceled"),
        news(6, kind="payment.expired"), news(7, kind="payment.refunded"),
        news(8, kind="payment.refused", reason="insufficient_funds"), gone, code_notification(10),
        news(11, currency=""),
    ]  # fmt: skip
    office.store.write(*ends, canceled=["EUR", "EUR", "JPY"])

    office.store.is_fenced = True
    await relay.step(0)
    assert relay.payments == {}, "another engine relays it, and counts it"

    office.store.is_fenced = False
    await relay.step(0)
    assert relay.payments == {
        ("succeeded", "EUR"): 1, ("succeeded", "USD"): 1, ("settlement_failed", "EUR"): 1,
        ("too_many_attempts", "EUR"): 1, ("canceled", "EUR"): 3, ("canceled", "JPY"): 1, ("expired", "EUR"): 1,
        ("refunded", "EUR"): 1,
    }  # fmt: skip


async def test_messages_that_are_given_up_are_counted_when_that_is_recorded() -> None:
    office = Office(email=None, sms=None)
    relay = office.relay
    last = SETTINGS.message_attempts - 1

    for attempts, is_fenced, count in ((0, False, 0), (last, True, 0), (last, False, 1), (last, False, 2)):
        office.store.is_fenced = is_fenced
        await relay.deliver_again(0, ClaimedMessage(news(), "email", attempts, "3"), 0.0)
        assert relay.messages_dead == count
    office.store.write(news(status="unreadable"))
    await relay.step(0)
    assert relay.messages_dead == 3
