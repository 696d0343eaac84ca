"""The relay: channels that fail or hang, and retries of messages."""

import asyncio
import contextlib

import pytest
from support.fixtures.doubles import make_context, settle
from support.fixtures.relay_setup import (
    SETTINGS,
    HangingChannel,
    MeetingChannel,
    Office,
    code_notification,
    news,
)

from technopay.engine import FixedCode
from technopay.engine.notifications.relay import BATCH, BATCH_BEHIND
from technopay.engine.values import (
    ClaimedMessage,
    FailedDelivery,
    NotificationContext,
    PaymentTerms,
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ConnectionError("x" * 1_000), "x" * 200), (ValueError(), "ValueError"), (KeyError("sms"), "'sms'")],
    ids=["long", "without words", "key"],
)
async def test_what_a_channel_does_not_take_waits_with_the_reason(error: Exception, reason: str) -> None:
    office = Office()
    office.email.error = error

    await office.relay_all(news())

    waiting = FailedDelivery("1-0", "alice", "email", "payment.succeeded", "pay_001", "waiting", reason)
    assert office.store.recorded == [("7", "1-0", 1_000, [waiting])]


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
    relaying = asyncio.create_task(office.relay.step(0))
    await settle()
    assert len(asyncio.all_tasks()) == 3

    relaying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await relaying
    await asyncio.sleep(0)

    assert office.email.cancellations == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert office.store.recorded == [], "what was not seen through is relayed again"


async def test_a_batch_that_is_not_the_last_has_a_next_one_and_without_entries_nothing_is_written() -> None:
    assert await Office().relay_all(end="0-1", is_last=False)
    assert await Office().relay_all(news(), is_last=False)
    assert not await Office().relay_all(news())
    office = Office()
    assert not await office.relay.step(0)
    assert office.store.recorded == []


async def test_a_relay_that_is_behind_reads_more_at_a_time() -> None:
    office = Office()
    relay = office.relay
    for is_last in (False, True, True):
        office.store.write(news(), is_last=is_last)
        await relay.step(0)
    assert office.store.limits == [BATCH, BATCH_BEHIND, BATCH]


async def test_a_message_that_waited_is_sent_under_the_same_event_id_through_its_channel() -> None:
    office = Office()
    (first,) = await office.sent(news())

    await office.deliver_again(ClaimedMessage(news(), "email", 1, "3"))
    await office.deliver_again(ClaimedMessage(news(), "sms", 1, "3"))

    assert office.email.messages == [first, first]
    assert [(message.event_id, message.to) for message in office.sms.messages] == [("evt_001-0", "+15550100")]
    assert office.store.attempts == [("sent", "", 1_000 * 2), ("sent", "", 1_000 * 2)]


@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "hangs"])
async def test_a_message_is_retried_ever_more_slowly_and_is_dead_after_the_last_attempt(hangs: bool) -> None:
    office, error = Office(email=HangingChannel()) if hangs else Office(), "TimeoutError" if hangs else "down"
    if not hangs:
        office.email.error = ConnectionError("down")

    for attempts in (0, 1, 2):
        await office.deliver_again(ClaimedMessage(news(), "email", attempts, "3"))

    assert office.store.attempts[:2] == [("waiting", error, 1_000), ("waiting", error, 2_000)]
    assert office.store.attempts[2][:2] == ("dead", error)


@pytest.mark.parametrize("context", [make_context(code_version=2), None], ids=["resent since", "gone since"])
async def test_a_code_that_went_stale_while_it_waited_is_given_up(context: NotificationContext | None) -> None:
    office = Office()

    await office.deliver_again(ClaimedMessage(code_notification(context=context), "email", 1, "3"))

    assert office.email.messages == []
    assert [status for status, _, _ in office.store.attempts] == ["stale"]
