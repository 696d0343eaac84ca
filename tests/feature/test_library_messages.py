"""The messages of a user, and a message refused by every channel."""

import asyncio
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for

from technopay.engine import (
    ConfirmationInvalid,
    DailyLimitExceeded,
    Engine,
    InsufficientFunds,
    Message,
    MockChannel,
    OutgoingMessage,
    RecordingChannel,
    SettlementFailed,
    read_mock_inbox,
)
from technopay.engine.notifications.texts import ADDRESS_TEXTS
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

REFUSED = "Your payment of {} EUR to bookshop was refused: {}. Nothing was deducted."
TEXTS = {
    "Your payment of 25.00 EUR to shop-declines could not be settled. The amount is back in your wallet.",
    "Your payment of 25.00 EUR to bookshop failed after too many wrong codes. Nothing was deducted.",
    "Your payment of 25.00 EUR to bookshop was refunded to your wallet.",
    REFUSED.format("90.00", "the wallet holds less than that"),
    REFUSED.format("25.00", "it would pass the limit for today"),
    "Your payment of 25.00 EUR to bookshop was canceled, because the invoice was withdrawn.",
}


async def texts_of(alice: Setup) -> list[str]:
    """Wait for the message of one more payment; return the texts of those before it, without codes."""
    await alice.pay(await alice.invoice(1, "the last"))

    async def has_the_last() -> bool:
        return any("the last" in each.message.text for each in await alice.messages("payment.succeeded"))

    await wait_for(has_the_last)
    inbox = [each.message for each in await read_mock_inbox(alice.store, "alice")]
    return [each.text for each in inbox if each.kind not in ("confirmation.code", "payment.succeeded")]


async def test_a_user_gets_one_message_of_each_end_that_no_call_of_theirs_returned(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    with pytest.raises(SettlementFailed):
        await alice.pay(await alice.invoice(2_500, "shop-declines"))
    guessed = await alice.start()
    for _ in range(5):
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(guessed, "wrong")
    unfunded = await alice.start(await alice.invoice(9_000))
    paid = await alice.pay()
    with pytest.raises(InsufficientFunds):
        await alice.confirm(unfunded)
    await engine.refund_payment(payment_id=paid.id)
    unlimited = await alice.start()
    await engine.set_limit(currency="EUR", amount=2_000)
    with pytest.raises(DailyLimitExceeded):
        await alice.confirm(unlimited)
    await engine.set_limit(currency="EUR", amount=None)
    await engine.void_invoice(invoice_id=(await alice.start()).invoice_id)

    # There is no message of a refused start, a cancel by the user and a second start.
    with pytest.raises(InsufficientFunds):
        await alice.start(await alice.invoice(10_001))
    await engine.cancel_payment(user_id="alice", payment_id=(await alice.start()).id)
    invoice = await alice.invoice()
    await alice.start(invoice)
    await alice.start(invoice)

    assert sorted(await texts_of(alice)) == sorted(TEXTS)
    refunded = (await alice.message("payment.refunded")).message
    assert refunded.payment_id == paid.id


async def test_a_code_that_expired_before_it_was_sent_is_not_sent_and_its_end_is_one_message(
    store: RedisStore,
) -> None:
    async with Engine(store, quick_settings(code_lifetime_s=0, agenda_interval_s=0.02)) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.start()
        await alice.message("payment.expired")
        assert await alice.messages("confirmation.code") == []
        shown = await alice.payment(payment)
        assert shown.status == "expired"
        assert shown.confirmation is not None
    async with Engine(store, quick_settings()) as engine:
        assert await texts_of(Setup(engine, store, "alice", alice.wallet)) == [
            "The code for your payment of 25.00 EUR to bookshop has expired. Nothing was deducted."
        ]


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


async def test_a_dead_message_is_sent_again_once_under_the_same_event(store: RedisStore) -> None:
    channel = RecordingChannel()
    channel.error = ConnectionError("down")
    channels: Any = {"email": channel, "sms": MockChannel(store)}
    async with Engine(store, quick_settings(message_attempts=2), channels=channels) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.start()
        (message,) = await wait_for(lambda: dead_messages(engine))
        channel.error = None
        send = {"message_id": message.id, "idempotency_key": "a key"}
        first, again = await engine.send_message_again(**send), await engine.send_message_again(**send)

        assert (first.status, first.replayed, again.replayed) == ("waiting", False, True)
        assert again.model_dump() == first.model_dump()

        async def sent() -> Any:
            return (await engine.list_messages(status="sent")).data

        (found,) = await wait_for(sent)
        assert found.id == message.id
        (delivered,) = channel.messages
        assert (delivered.event_id, delivered.code) == (message.event_id, await alice.right_code(payment))
        unchanged = await engine.send_message_again(message_id=message.id)
        assert unchanged.status == "sent", "only a dead message is sent again"


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


async def test_both_addresses_get_a_message_of_a_change(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    payment = await alice.start()
    old_code = await alice.code_from_inbox(payment)

    user = await engine.update_user(user_id="alice", email="alice@new.example", phone="+15550100")

    assert (user.email, user.phone) == ("alice@new.example", "+15550100")
    await alice.message("user.address_changed", 3)
    found = [each.message for each in await alice.messages("user.address_changed")]
    assert sorted((each.channel, each.to, each.text) for each in found) == [
        ("email", "alice@example.com", ADDRESS_TEXTS["removed"]),
        ("email", "alice@new.example", ADDRESS_TEXTS["added"]),
        ("sms", "+15550100", ADDRESS_TEXTS["added"]),
    ]
    assert {(each.payment_id, each.amount, each.payee) for each in found} == {("", 0, "")}
    with pytest.raises(ConfirmationInvalid):
        await alice.confirm(payment, old_code)
    await engine.resend_code(user_id="alice", payment_id=payment.id)
    newest = await alice.message("confirmation.code", 2)
    assert newest.message.to == "alice@new.example"
    assert (await alice.confirm(payment, newest.message.code)).status == "succeeded"


async def test_a_change_to_a_dead_address_still_gets_to_the_other_one(
    engine: Engine, store: RedisStore
) -> None:
    alice = await make_setup(engine, store)
    await engine.update_user(user_id="alice", email="dead@new.example")
    await alice.message("user.address_changed")

    async def only_one_waits() -> list[Message]:
        waiting = (await engine.list_messages(user_id="alice", status="waiting")).data
        return waiting if len(waiting) == 1 and waiting[0].last_error else []

    [waiting] = await wait_for(only_one_waits)
    assert (waiting.to, waiting.kind) == ("dead@new.example", "user.address_changed")
