"""What users are told, and when; and what becomes of a message that nobody takes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for

from technopay.engine import (
    ConfirmationInvalid,
    DailyLimitExceeded,
    Engine,
    EngineSettings,
    InsufficientFunds,
    Message,
    MockChannel,
    OutgoingMessage,
    PaymentNotFound,
    RecordingChannel,
    SettlementFailed,
)
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


@pytest.fixture
async def alice(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)


async def kinds_told(setup: Setup) -> list[str]:
    """Answer what a user was told beside codes, oldest first, once another message has come behind it."""
    await setup.pay(await setup.invoice(1, "the last"))

    async def the_last() -> bool:
        return any("the last" in each.message.text for each in await setup.messages("payment.succeeded"))

    await wait_for(the_last)
    kinds: list[str] = []
    for kind in (
        "payment.failed", "payment.refunded", "payment.refused", "payment.canceled", "payment.expired"
    ):  # fmt: skip
        kinds += [kind] * len(await setup.messages(kind))
    return kinds


async def test_a_debit_given_back_is_told_with_the_refund(alice: Setup) -> None:
    with pytest.raises(SettlementFailed):
        await alice.pay(await alice.invoice(2_500, "shop-declines"))

    assert (await alice.message("payment.failed")).message.text == (
        "Your payment of 25.00 EUR to shop-declines could not be settled. The amount is back in your wallet."
    )


async def test_too_many_wrong_codes_are_told_as_a_failure_without_a_debit(alice: Setup) -> None:
    payment = await alice.start()
    for _ in range(5):
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(payment, "wrong")

    assert (await alice.message("payment.failed")).message.text == (
        "Your payment of 25.00 EUR to bookshop failed after too many wrong codes. Nothing was deducted."
    )
    assert await kinds_told(alice) == ["payment.failed"]


async def test_an_operators_refund_is_told(alice: Setup) -> None:
    paid = await alice.pay()
    await alice.engine.refund_payment(payment_id=paid.id)

    told = (await alice.message("payment.refunded")).message

    assert told.payment_id == paid.id
    assert told.text == "Your payment of 25.00 EUR to bookshop was refunded to your wallet."


async def test_a_confirm_refused_for_funds_is_told_with_the_reason(alice: Setup) -> None:
    payment = await alice.start(await alice.invoice(9_000))
    await alice.pay(await alice.invoice(2_000))
    with pytest.raises(InsufficientFunds):
        await alice.confirm(payment)

    assert (await alice.message("payment.refused")).message.text == (
        "Your payment of 90.00 EUR to bookshop was refused: the wallet holds less than that. "
        "Nothing was deducted."
    )


async def test_a_confirm_refused_for_the_limit_is_told_with_the_reason(alice: Setup) -> None:
    payment = await alice.start()
    await alice.engine.set_limit(currency="EUR", amount=2_000)
    with pytest.raises(DailyLimitExceeded):
        await alice.confirm(payment)

    assert (await alice.message("payment.refused")).message.text == (
        "Your payment of 25.00 EUR to bookshop was refused: it would pass the limit for today. "
        "Nothing was deducted."
    )


async def test_a_refused_start_and_a_users_own_cancel_are_not_told(alice: Setup) -> None:
    with pytest.raises(InsufficientFunds):
        await alice.start(await alice.invoice(10_001))
    payment = await alice.start()
    await alice.engine.cancel_payment(user_id="alice", payment_id=payment.id)
    invoice = await alice.invoice()
    await alice.start(invoice)
    await alice.start(invoice)  # cancels the one before

    assert await kinds_told(alice) == []


async def test_a_payment_canceled_by_a_void_is_told(alice: Setup) -> None:
    payment = await alice.start()
    await alice.engine.void_invoice(invoice_id=payment.invoice_id)

    told = (await alice.message("payment.canceled")).message

    assert told.payment_id == payment.id
    assert told.text == (
        "Your payment of 25.00 EUR to bookshop was canceled, because the invoice was withdrawn."
    )


async def test_a_code_that_expires_unused_is_told_once(store: RedisStore) -> None:
    async with Engine(store, quick_settings(code_lifetime_s=0, agenda_interval_s=0.02)) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.start()

        told = (await alice.message("payment.expired")).message

        assert told.text == (
            "The code for your payment of 25.00 EUR to bookshop has expired. Nothing was deducted."
        )
        shown = await alice.payment(payment)
        assert shown.status == "expired"
        assert shown.confirmation is not None
    async with Engine(store, quick_settings()) as engine:
        assert await kinds_told(Setup(engine, store, "alice", alice.wallet)) == ["payment.expired"]


async def test_a_code_that_is_dead_before_it_was_sent_is_not_sent(store: RedisStore) -> None:
    async with Engine(store, quick_settings(code_lifetime_s=0, agenda_interval_s=0.02)) as engine:
        alice = await make_setup(engine, store)
        await alice.start()
        await alice.message("payment.expired")

        assert await alice.messages("confirmation.code") == []


async def dead_messages(engine: Engine) -> list[Message]:
    return (await engine.list_messages(status="dead")).data


async def test_an_address_that_takes_nothing_ends_as_a_dead_message_and_stops_nobody_else(
    store: RedisStore,
) -> None:
    async with Engine(store, quick_settings(message_attempts=3)) as engine:
        deaf = await make_setup(engine, store, "deaf", email="dead@example.com")
        alice = await make_setup(engine, store, "alice")
        payment = await deaf.start()

        assert (await alice.pay()).status == "succeeded"
        await alice.message("payment.succeeded")
        (message,) = await wait_for(lambda: dead_messages(engine))

        assert message.id.startswith("msg_")
        assert message.event_id == message.id.replace("msg_", "evt_")
        assert message.model_dump(exclude={"id", "event_id", "at"}) == {
            "user_id": "deaf",
            "channel": "email",
            "to": "dead@example.com",
            "kind": "confirmation.code",
            "status": "dead",
            "attempts": 3,
            "last_error": "the address does not take messages",
        }
        assert await deaf.messages("confirmation.code") == []
        assert (await deaf.confirm(payment)).status == "succeeded", "a lost message stops no payment"


async def test_a_dead_message_is_sent_again_under_the_same_event(store: RedisStore) -> None:
    channel = RecordingChannel()
    channel.error = ConnectionError("down")
    channels: Any = {"email": channel, "sms": MockChannel(store)}
    async with Engine(store, quick_settings(message_attempts=2), channels=channels) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.start()
        (message,) = await wait_for(lambda: dead_messages(engine))
        channel.error = None

        assert (await engine.send_message_again(message_id=message.id)).status == "waiting"

        async def delivered() -> bool:
            return bool(channel.messages)

        await wait_for(delivered)
        assert channel.messages[0].event_id == message.event_id
        assert channel.messages[0].code == await alice.right_code(payment)

        async def sent() -> Any:
            return (await engine.list_messages(status="sent")).data

        ((again,)) = await wait_for(sent)
        assert again.id == message.id
        unchanged = await engine.send_message_again(message_id=message.id)
        assert unchanged.status == "sent", "what is not dead stays as it is"


@pytest.mark.parametrize("failed_first", [False, True], ids=["relay", "message"])
async def test_another_engine_sends_at_once_what_one_could_not_end(
    store: RedisStore, *, failed_first: bool
) -> None:
    class Hanging(RecordingChannel):
        async def deliver(self, message: OutgoingMessage) -> None:
            await super().deliver(message)
            hangs.set()
            await asyncio.get_running_loop().create_future()

    hangs, channel, other = asyncio.Event(), Hanging(), RecordingChannel()
    channel.error = ConnectionError("down") if failed_first else None
    settings = quick_settings(message_timeout_s=60, drain_s=0.01)
    async with Engine(store, settings, channels={"email": channel}) as engine:
        alice = await make_setup(engine, store)
        await alice.start()
        if failed_first:

            async def waits() -> bool:
                return bool((await engine.list_messages(status="waiting")).data)

            await wait_for(waits)
            channel.error = None
        await hangs.wait()

    async def delivered() -> bool:
        return bool(other.messages)

    async with Engine(store, settings, channels={"email": other}):
        await wait_for(delivered, within_s=3)


async def test_messages_are_listed_with_what_became_of_them(alice: Setup) -> None:
    payment = await alice.start()
    await alice.confirm(payment, await alice.code_from_inbox(payment))

    async def two_sent() -> Any:
        sent = (await alice.engine.list_messages(status="sent", user_id="alice")).data
        return sent if len(sent) == 2 else None

    sent = await wait_for(two_sent)

    assert [each.kind for each in sent] == ["payment.succeeded", "confirmation.code"]
    assert {(each.attempts, each.last_error, each.to) for each in sent} == {(1, None, "alice@example.com")}
    assert (await alice.engine.list_messages(status="dead")).data == []
    assert (await alice.engine.list_messages(user_id="bob")).data == []


async def test_dead_payments_are_cleared_away_after_thirty_days_and_paid_ones_kept(
    fake_clock: FakeClock, fake_store: RedisStore
) -> None:
    fake_clock.set(datetime.now(UTC))
    async with Engine(fake_store, quick_settings(agenda_interval_s=0.01)) as engine:
        alice = await make_setup(engine, fake_store)
        paid, canceled = await alice.pay(), await alice.start()
        await engine.cancel_payment(user_id="alice", payment_id=canceled.id)
        fake_clock.advance(30 * 24 * 3600 * 1000 + 1)

        async def gone() -> bool:
            try:
                await alice.payment(canceled)
            except PaymentNotFound:
                return True
            return False

        assert await wait_for(gone)
        assert [each.id for each in (await engine.list_payments(user_id="alice")).data] == [paid.id]
