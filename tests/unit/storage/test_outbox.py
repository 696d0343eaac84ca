"""What is due on the agenda, the relay's claim, messages that failed, and the mock services."""

from __future__ import annotations

import pytest
from support.clock import FakeClock
from support.scene import DAY_MS, Scene, client_of, dump, operation

from technopay.engine.ports import ClaimedMessage, Delivery
from technopay.storage import RedisStore


async def relay(scene: Scene, *errors: str) -> list[str]:
    """Deliver what the journal has, the last ones with these errors; answer the entries of those."""
    outbox = await scene.store.read_outbox("relay-a", 1_000)
    assert outbox is not None
    claim, entries = outbox
    ids = [entry.id for entry in entries[-len(errors) :]]
    deliveries = [
        Delivery(entry, "alice", "email", "payment.succeeded", "pay_1", error)
        for entry, error in zip(ids, errors, strict=True)
    ]
    assert await scene.store.record_deliveries(claim, entries[-1].id, 0, deliveries)
    return ids


async def claimed(scene: Scene) -> ClaimedMessage:
    (message,) = (await scene.store.take_due(10)).messages
    return message


async def listed(
    scene: Scene, status: str | None = None, user: str | None = None
) -> list[tuple[str, str, int]]:
    page = await scene.store.list_messages(status, user, "", 10)
    return [(message.id, message.status, message.attempts) for message in page.data]


async def test_a_settlement_that_is_due_is_handed_out_once_under_a_new_claim(scene: Scene) -> None:
    payment_id, _ = await scene.processing(await scene.wallet())
    assert (await scene.store.take_due(10)).payments == []
    await scene.make_due(payment_id)
    due = await scene.store.take_due(10)
    assert [(taken.payment, taken.claim) for taken in due.payments] == [(await scene.payment(payment_id), "2")]
    assert 10_000 < (due.next_in_ms or 0) <= 15_000
    assert (await scene.store.take_due(10)).payments == []


async def test_a_refund_that_is_due_is_handed_out_too(scene: Scene) -> None:
    payment_id, claim = await scene.refunding(await scene.wallet())
    await scene.make_due(payment_id)
    (taken,) = (await scene.store.take_due(10)).payments
    assert taken.payment.status == "refunding"
    assert int(taken.claim) > int(claim)


async def test_no_more_is_taken_than_was_asked_for(scene: Scene) -> None:
    wallet = await scene.wallet()
    for _ in range(3):
        payment_id, _ = await scene.processing(wallet)
        await scene.make_due(payment_id)
    due = await scene.store.take_due(2)
    assert len(due.payments) == 2
    assert (due.next_in_ms or 0) < 0
    assert len((await scene.store.take_due(2)).payments) == 1


async def test_an_empty_agenda_has_no_next(fake_store: RedisStore) -> None:
    due = await fake_store.take_due(10)
    assert (due.payments, due.messages, due.next_in_ms) == ([], [], None)


async def test_a_code_that_ran_out_expires_its_payment_and_frees_the_invoice(scene: Scene) -> None:
    invoice = await scene.invoice()
    payment_id = await scene.started(await scene.wallet(), invoice, lifetime_ms=0)
    assert (await scene.payment(payment_id)).status == "expired"
    before = await scene.journal()
    assert (await scene.store.take_due(10)).payments == []
    assert (await scene.fields("payment", payment_id))["status"] == "expired"
    assert "payment" not in await scene.fields("invoice", invoice)
    assert await scene.news(before) == [("payment.expired", {"payment": payment_id})]


async def test_a_payment_that_is_not_expired_yet_is_due_again_at_its_expiry(scene: Scene) -> None:
    payment_id = await scene.started(await scene.wallet(), await scene.invoice())
    await scene.make_due(payment_id)
    before = await scene.journal()
    await scene.store.take_due(10)
    expires_at = int((await scene.fields("payment", payment_id))["expires_at"])
    assert await scene.due_at(payment_id) == expires_at
    assert await scene.news(before) == []


async def test_dead_payments_and_old_operations_are_reaped_and_live_ones_are_not(scene: Scene) -> None:
    wallet = await scene.wallet()
    kept, _ = await scene.processing(wallet)
    dead = await scene.started(wallet, await scene.invoice(), lifetime_ms=0)
    await scene.store.take_due(10)
    old = operation()
    await scene.store.create_user(old, "bob", None, "+15550100")
    await scene.make_due(dead)
    await scene.make_due(f"op_{old.id}")
    await scene.store.take_due(10)
    assert await scene.fields("payment", dead) == {}
    assert await scene.fields("operation", old.id) == {}
    assert await scene.due_at(dead) is None
    assert await scene.due_at(f"op_{old.id}") is None
    assert [payment.id for payment in (await scene.store.list_payments("alice", "", 10)).data] == [kept]
    assert (await scene.store.create_user(old, "bob", None, "+15550100")).code == "user_exists"


async def test_the_agenda_forgets_what_is_gone(scene: Scene) -> None:
    for member in ("pay_00none", "msg_1-1", "op_none"):
        await scene.make_due(member)
    assert (await scene.store.take_due(10)).payments == []
    for member in ("pay_00none", "msg_1-1", "op_none"):
        assert await scene.due_at(member) is None


async def test_one_process_relays_at_a_time_and_goes_on_behind_the_last_delivery(scene: Scene) -> None:
    first = await scene.store.read_outbox("relay-a", 1)
    assert first is not None
    assert [entry.type for entry in first[1]] == ["user.created"]
    assert await scene.store.read_outbox("relay-b", 1) is None
    assert await scene.store.record_deliveries(first[0], first[1][0].id, 0, [])
    await scene.user("bob")
    second = await scene.store.read_outbox("relay-b", 10)
    assert second is not None
    assert [entry.fields.get("user") for entry in second[1]] == ["bob"]
    assert await scene.store.record_deliveries(second[0], second[1][-1].id, 0, [])
    before = await dump(scene.store)
    nothing = await scene.store.read_outbox("relay-a", 10)
    assert nothing is not None
    assert nothing[1] == []
    assert await dump(scene.store) == before


async def test_a_relay_that_slept_is_fenced(clocked: Scene, fake_clock: FakeClock) -> None:
    slept = await clocked.store.read_outbox("relay-a", 10)
    assert slept is not None
    fake_clock.advance(3_999)
    assert await clocked.store.read_outbox("relay-b", 10) is None
    fake_clock.advance(1)
    awake = await clocked.store.read_outbox("relay-b", 10)
    assert awake is not None
    before = await dump(clocked.store)
    late = [Delivery(slept[1][0].id, "alice", "email", "payment.succeeded", "pay_1", "")]
    assert not await clocked.store.record_deliveries(slept[0], slept[1][-1].id, 0, late)
    assert await dump(clocked.store) == before
    assert await clocked.store.record_deliveries(awake[0], awake[1][-1].id, 0, [])


async def test_a_relay_claim_from_a_clock_that_jumped_back_does_not_count(
    clocked: Scene, fake_clock: FakeClock
) -> None:
    await clocked.store.read_outbox("relay-a", 10)
    fake_clock.advance(-1)
    assert await clocked.store.read_outbox("relay-b", 10) is not None


async def test_nobody_records_deliveries_who_never_relayed(scene: Scene) -> None:
    assert not await scene.store.record_deliveries("1", "1-1", 0, [])


async def test_what_was_delivered_at_once_is_listed_and_leaves_no_record(scene: Scene) -> None:
    (entry,) = await relay(scene, "")
    page = await scene.store.list_messages(None, None, "", 10)
    (message,) = page.data
    assert (message.id, message.event_id) == (f"msg_00{entry}", f"evt_00{entry}")
    assert (message.user_id, message.channel, message.to) == ("alice", "email", "alice@example.com")
    assert (message.kind, message.status, message.attempts, message.last_error) == (
        "payment.succeeded", "sent", 1, None,
    )  # fmt: skip
    assert await scene.due_at(f"msg_{entry}") is None
    assert await scene.fields("message", entry) == {}


async def test_a_message_that_failed_is_tried_again_under_a_claim(scene: Scene) -> None:
    (entry,) = await relay(scene, "it bounced")
    assert await listed(scene, "waiting") == [(f"msg_00{entry}", "waiting", 1)]
    message = await claimed(scene)
    assert (message.entry.id, message.entry.type) == (entry, "user.created")
    assert (message.kind, message.channel, message.attempts, message.claim) == (
        "payment.succeeded", "email", 1, "1",
    )  # fmt: skip
    assert (await scene.store.take_due(10)).messages == []
    assert await scene.store.record_attempt(message, "sent", "", 0)
    assert await listed(scene) == [(f"msg_00{entry}", "sent", 2)]
    assert (await scene.store.take_due(10)).messages == []


async def test_an_old_claim_of_a_message_changes_nothing(scene: Scene) -> None:
    (entry,) = await relay(scene, "it bounced")
    slept = await claimed(scene)
    await scene.make_due(f"msg_{entry}")
    taken = await claimed(scene)
    before = await dump(scene.store)
    assert not await scene.store.record_attempt(slept, "sent", "", 0)
    assert await dump(scene.store) == before
    assert await scene.store.record_attempt(taken, "waiting", "again", 60_000)
    assert 55_000 < (await scene.due_at(f"msg_{entry}") or 0) - await scene.now_ms() <= 60_000


async def test_a_message_that_has_nothing_to_tell_any_more_is_not_listed(scene: Scene) -> None:
    await relay(scene, "it bounced")
    assert await scene.store.record_attempt(await claimed(scene), "stale", "", 0)
    assert await listed(scene) == []


async def test_a_dead_message_is_sent_again_with_all_its_attempts(scene: Scene) -> None:
    (entry,) = await relay(scene, "it bounced")
    await scene.store.record_attempt(await claimed(scene), "dead", "gone", 0)
    assert await listed(scene, "dead") == [(f"msg_00{entry}", "dead", 2)]
    assert (await scene.store.take_due(10)).messages == []
    outcome = await scene.store.send_again(operation(), f"msg_00{entry}")
    assert outcome.value is not None
    assert (outcome.value.status, outcome.value.last_error) == ("waiting", "gone")
    assert outcome.value.to == "alice@example.com"
    again = await claimed(scene)
    assert again.attempts == 0
    assert await scene.store.record_attempt(again, "waiting", "still", 0)


async def test_only_a_dead_message_is_sent_again(scene: Scene) -> None:
    sent, waiting = await relay_two(scene)
    before = await dump(scene.store)
    for entry, status in ((sent, "sent"), (waiting, "waiting")):
        who = operation(fingerprint="")
        outcome = await scene.store.send_again(who, f"msg_00{entry}")
        assert outcome.value is not None
        assert outcome.value.status == status
    for message_id in ("msg_001-1", "msg_00x", "pay_001", ""):
        assert (await scene.store.send_again(operation(), message_id)).code == "message_not_found"
    assert await dump(scene.store) == before


async def relay_two(scene: Scene) -> tuple[str, str]:
    await scene.user("bob")
    sent, waiting = await relay(scene, "", "it bounced")
    return sent, waiting


async def test_messages_are_found_by_state_and_user_page_by_page(scene: Scene) -> None:
    sent, waiting = await relay_two(scene)
    assert [found[0] for found in await listed(scene)] == [f"msg_00{waiting}", f"msg_00{sent}"]
    assert [found[0] for found in await listed(scene, "sent")] == [f"msg_00{sent}"]
    assert await listed(scene, user="bob") == []
    first = await scene.store.list_messages(None, "alice", "", 1)
    rest = await scene.store.list_messages(None, "alice", first.next_cursor or "", 1)
    assert [message.id for message in first.data + rest.data] == [f"msg_00{waiting}", f"msg_00{sent}"]


@pytest.mark.parametrize("status", ["sent", "dead"])
async def test_a_message_is_forgotten_after_three_days(
    clocked: Scene, fake_clock: FakeClock, status: str
) -> None:
    (entry,) = await relay(clocked, "it bounced" if status == "dead" else "")
    if status == "dead":
        await clocked.store.record_attempt(await claimed(clocked), "dead", "gone", 0)
    fake_clock.advance(3 * DAY_MS - 1)
    await clocked.store.take_due(10)
    assert [found[1] for found in await listed(clocked)] == [status]
    fake_clock.advance(1)
    await clocked.store.take_due(10)
    assert await listed(clocked) == []
    assert await clocked.fields("message", entry) == {}
    assert (await clocked.store.send_again(operation(), f"msg_00{entry}")).code == "message_not_found"


async def test_the_mock_service_settles_declines_and_stays_with_what_it_said(scene: Scene) -> None:
    ask = scene.store.mock_settlement
    assert await ask("status", "pay_1", 0) == "not_found"
    assert await ask("reverse", "pay_1", 0) == "not_found"
    assert await ask("settle", "pay_1", 0) == "settled"
    assert await ask("decline", "pay_1", 0) == "settled"
    assert await ask("call_off", "pay_1", 0) == "settled"
    assert await ask("reverse", "pay_1", 0) == "reversed"
    assert await ask("settle", "pay_1", 0) == "reversed"
    assert await ask("decline", "pay_2", 0) == "declined"
    assert await ask("settle", "pay_2", 0) == "declined"


async def test_a_call_off_leaves_a_tombstone_even_for_a_payment_never_seen(scene: Scene) -> None:
    ask = scene.store.mock_settlement
    assert await ask("call_off", "pay_1", 0) == "called_off"
    assert await ask("settle", "pay_1", 0) == "called_off"
    assert await ask("status", "pay_1", 0) == "called_off"


async def test_the_mock_service_fails_as_often_as_it_is_told(scene: Scene) -> None:
    answers = [await scene.store.mock_settlement("settle", "pay_1", 2) for _ in range(3)]
    assert answers == ["error", "error", "settled"]


async def test_the_mock_inbox_is_per_user_newest_first_and_bounded(scene: Scene) -> None:
    now_ms = await scene.now_ms()
    for number in range(202):
        await scene.store.mock_inbox("alice", f'{{"number": {number}}}')
    inbox = await scene.store.read_mock_inbox("alice")
    assert len(inbox) == 200
    at_ms, _, message = inbox[0].partition(" ")
    assert (int(at_ms) >= now_ms, message) == (True, '{"number": 201}')
    assert await scene.store.read_mock_inbox("bob") == []
    assert await client_of(scene.store).exists(scene.keys.key("mock:inbox", "bob")) == 0
