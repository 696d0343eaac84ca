"""Messages: deliveries at once, failures, and their list."""

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.dumps import dump
from support.fixtures.relaying import read, relay, relay_all, relay_anew
from support.fixtures.store_commands import list_messages, record_attempt, send_again, take_due
from support.fixtures.store_setup import DAY_MS, WRONG, Setup, message_id, operation, unrecorded, value_of

from technopay.engine.record import from_ms
from technopay.engine.values import ClaimedMessage

pytestmark = pytest.mark.any_partition

STALE = ""


async def claimed(setup: Setup) -> ClaimedMessage:
    (message,) = (await take_due(setup.store, 10)).messages
    return message


async def listed(
    setup: Setup, status: str | None = None, user: str | None = None
) -> list[tuple[str, str, int]]:
    page = await list_messages(setup.store, status, user, "", 10)
    return [(message.id, message.status, message.attempts) for message in page.data]


async def test_a_message_delivered_at_once_is_listed_and_leaves_no_record(setup: Setup) -> None:
    await setup.user("bob", "bob@example.com", "+15550100")
    wallet = await setup.wallet("bob")
    await relay_all(setup)
    payment_id = await setup.started(wallet, await setup.invoice("bob"), "bob", method="sms")
    await setup.confirm(payment_id, user_id="bob")
    await setup.complete(payment_id, "1", "settled")
    code, succeeded = await relay(setup, None, None)
    page = await list_messages(setup.store, None, None, "", 10)
    newest, oldest = page.data
    assert (newest.id, newest.event_id) == (message_id(succeeded), message_id(succeeded).replace("msg", "evt"))
    assert (newest.user_id, newest.channel, newest.to) == ("bob", "email", "bob@example.com")
    assert (newest.kind, newest.status, newest.attempts, newest.last_error) == (
        "payment.succeeded", "sent", 1, None,
    )  # fmt: skip
    assert newest.at == from_ms(succeeded.split("-")[0])
    # A code is sent by the channel that the user chose.
    assert (oldest.id, oldest.kind) == (message_id(code), "confirmation.code")
    assert (oldest.channel, oldest.to) == ("sms", "+15550100")
    assert await setup.due_at(f"msg_{succeeded}") is None
    assert not [name for name in await dump(setup.store) if name.startswith("message")]


async def test_a_message_that_was_not_tried_yet_is_not_listed_and_not_sent_again(setup: Setup) -> None:
    await setup.started(await setup.wallet(), await setup.invoice())
    (notice,) = (await read(setup)).notifications
    assert await listed(setup) == []
    unsent = message_id(notice.entry_id)
    assert (await send_again(setup.store, operation(), unsent)).code == "message_not_found"


async def test_a_message_that_failed_is_tried_again_under_a_claim(setup: Setup) -> None:
    (entry,) = await relay_anew(setup, "it bounced")
    assert await listed(setup, "waiting") == [(message_id(entry), "waiting", 1)]
    message = await claimed(setup)
    assert (message.notification.entry_id, message.notification.kind) == (entry, "confirmation.code")
    assert (message.notification.code_version, message.notification.reason) == (1, "")
    assert message.notification.context is not None
    assert message.notification.context.email == "alice@example.com"
    assert (message.channel, message.attempts, message.claim) == ("email", 1, "1")
    assert (await take_due(setup.store, 10)).messages == []
    assert await record_attempt(setup.store, message, "sent", "", 0)
    assert await listed(setup) == [(message_id(entry), "sent", 2)]
    assert (await take_due(setup.store, 10)).messages == []


async def test_a_retried_message_has_the_reason_of_the_failure(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice(), attempts=1)
    await setup.confirm(payment_id, WRONG)
    await relay(setup, "it bounced")
    notice = (await claimed(setup)).notification
    assert (notice.kind, notice.code_version, notice.reason) == ("payment.failed", None, "too_many_attempts")


async def test_an_old_claim_of_a_message_changes_nothing(setup: Setup) -> None:
    (entry,) = await relay_anew(setup, "it bounced")
    slept = await claimed(setup)
    await setup.make_due(f"msg_{entry}")
    taken = await claimed(setup)
    before = await dump(setup.store)
    assert not await record_attempt(setup.store, slept, "sent", "", 0)
    assert await dump(setup.store) == before
    assert await record_attempt(setup.store, taken, "waiting", "again", 60_000)
    assert 55_000 < (await setup.due_at(f"msg_{entry}") or 0) - await setup.now_ms() <= 60_000


@pytest.mark.parametrize("at_first", [True, False])
async def test_a_stale_message_is_not_listed_and_not_sent_again(setup: Setup, at_first: bool) -> None:
    (entry,) = await relay_anew(setup, STALE if at_first else "it bounced")
    if at_first:
        assert (await take_due(setup.store, 10)).messages == []
    else:
        assert await record_attempt(setup.store, await claimed(setup), "stale", "", 0)
    assert (await setup.fields("message", entry))["status"] == "stale"
    assert (await setup.due_at(f"msg_{entry}") or 0) > await setup.now_ms() + 2 * DAY_MS
    assert await listed(setup) == []
    assert (await send_again(setup.store, operation(), message_id(entry))).code == "message_not_found"


async def test_a_dead_message_is_sent_again_with_all_its_attempts(setup: Setup) -> None:
    (entry,) = await relay_anew(setup, "it bounced")
    await record_attempt(setup.store, await claimed(setup), "dead", "gone", 0)
    assert await listed(setup, "dead") == [(message_id(entry), "dead", 2)]
    assert (await take_due(setup.store, 10)).messages == []
    waiting = value_of(await send_again(setup.store, operation(), message_id(entry)))
    assert (waiting.status, waiting.last_error, waiting.to) == ("waiting", "gone", "alice@example.com")
    again = await claimed(setup)
    assert again.attempts == 0
    assert await record_attempt(setup.store, again, "waiting", "still", 0)


async def test_only_a_dead_message_is_sent_again(setup: Setup) -> None:
    sent, waiting = await relay_anew(setup, None, "it bounced")
    before = await dump(setup.store)
    for entry, status in ((sent, "sent"), (waiting, "waiting")):
        assert value_of(await send_again(setup.store, unrecorded(), message_id(entry))).status == status
    no_message, _ = (await setup.entries())[0]
    for unknown in (no_message, "1-1"):
        assert (await send_again(setup.store, operation(), message_id(unknown))).code == "message_not_found"
    assert await dump(setup.store) == before


async def test_a_place_in_front_of_a_message_is_no_message(clocked: Setup, fake_clock: FakeClock) -> None:
    wallet, invoice = await clocked.wallet(), await clocked.invoice()
    fake_clock.advance(2)
    await clocked.started(wallet, invoice)
    (entry,) = await relay(clocked, None)
    in_front = f"{fake_clock.now_ms - 1}-0"
    for place, code in ((entry, "ok"), (in_front, "message_not_found")):
        assert (await send_again(clocked.store, operation(), message_id(place))).code == code


async def test_messages_are_found_by_state_and_user_page_by_page(setup: Setup) -> None:
    sent, waiting = await relay_anew(setup, None, "it bounced")
    await setup.user("bob")
    assert [found[0] for found in await listed(setup)] == [message_id(waiting), message_id(sent)]
    assert [found[0] for found in await listed(setup, "sent")] == [message_id(sent)]
    assert await listed(setup, user="bob") == []
    first = await list_messages(setup.store, None, "alice", "", 1)
    rest = await list_messages(setup.store, None, "alice", first.next_cursor or "", 1)
    assert [message.id for message in first.data + rest.data] == [message_id(waiting), message_id(sent)]


@pytest.mark.parametrize("status", ["sent", "dead"])
async def test_a_message_is_forgotten_after_three_days(
    clocked: Setup, fake_clock: FakeClock, status: str
) -> None:
    (entry,) = await relay_anew(clocked, "it bounced" if status == "dead" else None)
    if status == "dead":
        await record_attempt(clocked.store, await claimed(clocked), "dead", "gone", 0)
    fake_clock.advance(3 * DAY_MS - 1)
    await take_due(clocked.store, 10)
    assert [found[1] for found in await listed(clocked)] == [status]
    fake_clock.advance(1)
    await take_due(clocked.store, 10)
    assert await listed(clocked) == []
    assert await clocked.fields("message", entry) == {}
    assert (await send_again(clocked.store, operation(), message_id(entry))).code == "message_not_found"


async def test_a_message_that_was_tried_for_long_is_listed_longer_than_its_entry_is_kept(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    (entry,) = await relay_anew(clocked, "it bounced")
    fake_clock.advance(2 * DAY_MS)
    await record_attempt(clocked.store, await claimed(clocked), "dead", "gone", 0)
    fake_clock.advance(3 * DAY_MS - 1)
    await take_due(clocked.store, 10)
    assert await listed(clocked) == [(message_id(entry), "dead", 2)]
