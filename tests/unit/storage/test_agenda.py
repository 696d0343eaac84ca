"""The agenda, and the mock services."""

import pytest
from support.fixtures.store_commands import list_payments, mock_inbox, mock_settlement, read_inbox, take_due
from support.fixtures.store_setup import Setup, client_of, operation

from technopay.engine.commands import CreateUser
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition


async def test_a_settlement_that_is_due_is_handed_out_once_under_a_new_claim(setup: Setup) -> None:
    payment_id, _ = await setup.processing(await setup.wallet())
    assert (await take_due(setup.store, 10)).payments == []
    await setup.make_due(payment_id)
    due = await take_due(setup.store, 10)
    assert [(taken.payment, taken.claim) for taken in due.payments] == [
        (await setup.operator_payment(payment_id), "2")
    ]
    assert 10_000 < (due.next_in_ms or 0) <= 15_000
    assert (await take_due(setup.store, 10)).payments == []


async def test_no_more_is_taken_than_was_asked_for(setup: Setup) -> None:
    wallet = await setup.wallet()
    for _ in range(3):
        payment_id, _ = await setup.processing(wallet)
        await setup.make_due(payment_id)
    due = await take_due(setup.store, 2)
    assert len(due.payments) == 2
    assert (due.next_in_ms or 0) < 0
    assert len((await take_due(setup.store, 2)).payments) == 1


async def test_an_empty_agenda_has_no_next(fake_store: RedisStore) -> None:
    due = await take_due(fake_store, 10)
    assert (due.payments, due.messages, due.next_in_ms) == ([], [], None)


async def test_a_code_that_ran_out_expires_its_payment_and_frees_the_invoice(setup: Setup) -> None:
    invoice = await setup.invoice()
    payment_id = await setup.started(await setup.wallet(), invoice, lifetime_ms=0)
    assert (await setup.payment(payment_id)).status == "expired"
    before = await setup.journal()
    assert (await take_due(setup.store, 10)).payments == []
    assert (await setup.fields("payment", payment_id))["status"] == "expired"
    assert "payment" not in await setup.fields("invoice", invoice)
    assert await setup.news(before) == [("payment.expired", {"payment": payment_id, "version": "2"})]


async def test_a_payment_that_is_not_expired_yet_is_due_again_at_its_expiry(setup: Setup) -> None:
    payment_id = await setup.started(await setup.wallet(), await setup.invoice())
    await setup.make_due(payment_id)
    before = await setup.journal()
    await take_due(setup.store, 10)
    assert await setup.due_at(payment_id) == int((await setup.code(payment_id))["expires_at"])
    assert await setup.news(before) == []


async def test_dead_payments_and_old_operations_are_reaped_and_live_ones_are_not(setup: Setup) -> None:
    wallet = await setup.wallet()
    kept, _ = await setup.processing(wallet)
    dead = await setup.started(wallet, await setup.invoice(), lifetime_ms=0)
    await take_due(setup.store, 10)
    create = CreateUser(operation(), "bob", None, "+15550100")
    await setup.done(create)
    # Members of the agenda without a record are removed.
    members = (dead, f"op_{create.operation.operation_id}", "pay_00none", "msg_1-1", "op_none")
    for member in members:
        await setup.make_due(member)
    assert (await take_due(setup.store, 10)).payments == []
    assert [await setup.due_at(member) for member in members] == [None] * 5
    assert await setup.fields("payment", dead) == {}
    assert await setup.fields("operation", create.operation.operation_id) == {}
    assert [payment.id for payment in (await list_payments(setup.store, "alice", "", 10)).data] == [kept]
    assert (await setup.run(create)).code == "user_exists"


@pytest.mark.parametrize(
    "calls",
    [
        ["status not_found", "reverse not_found", "settle settled", "decline settled", "call_off settled",
         "reverse reversed", "settle reversed"],
        ["decline declined", "settle declined"],
        ["call_off called_off", "settle called_off", "status called_off"],
    ],
)  # fmt: skip
async def test_the_mock_service_stays_with_its_first_decision(setup: Setup, calls: list[str]) -> None:
    for action, result in (call.split() for call in calls):
        assert await mock_settlement(setup.store, action, "pay_1") == result


async def test_the_mock_service_fails_as_often_as_it_is_asked_to(setup: Setup) -> None:
    results = [await mock_settlement(setup.store, "settle", "pay_1", 2) for _ in range(3)]
    assert results == ["error", "error", "settled"]


async def test_the_mock_inbox_is_per_user_newest_first_and_bounded(setup: Setup) -> None:
    now_ms = await setup.now_ms()
    for number in range(202):
        await mock_inbox(setup.store, "alice", f'{{"number": {number}}}')
    inbox = await read_inbox(setup.store, "alice", 200)
    assert len(inbox) == 200
    at_ms, _, message = inbox[0].partition(" ")
    assert (int(at_ms) >= now_ms, message) == (True, '{"number": 201}')
    assert await read_inbox(setup.store, "alice", 3) == inbox[:3]
    assert await read_inbox(setup.store, "bob", 200) == []
    assert await client_of(setup.store).exists(setup.keys.key("mock:inbox", "bob")) == 0
