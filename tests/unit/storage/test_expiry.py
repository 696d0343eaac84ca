"""What expires, to the millisecond of the store's clock."""

from __future__ import annotations

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_commands import take_due
from support.fixtures.store_setup import CODE_MS, Setup, operation, unrecorded

from technopay.engine import commands
from technopay.engine.commands import CreateUser, ReadInvoice


async def test_a_code_is_good_to_its_last_millisecond(clocked: Setup, fake_clock: FakeClock) -> None:
    wallet = await clocked.wallet()
    first, second = [await clocked.started(wallet, await clocked.invoice()) for _ in range(2)]
    fake_clock.advance(CODE_MS - 1)
    assert (await clocked.payment(second)).status == "requires_confirmation"
    assert (await clocked.confirm(first)).code == "ok"
    fake_clock.advance(1)
    assert (await clocked.payment(second)).status == "expired"
    assert (await clocked.confirm(second)).code == "confirmation_expired"


async def test_a_code_that_was_accepted_does_not_expire(clocked: Setup, fake_clock: FakeClock) -> None:
    payment_id, _ = await clocked.processing(await clocked.wallet())
    fake_clock.advance(CODE_MS)
    replay = await clocked.confirm(payment_id)
    assert (replay.code, replay.replayed) == ("ok", True)


@pytest.mark.parametrize(("late_ms", "start", "confirm"), [(-1, "ok", "ok"), (0, *["invoice_expired"] * 2)])
async def test_an_invoice_is_payable_to_its_last_millisecond(
    clocked: Setup, fake_clock: FakeClock, late_ms: int, start: str, confirm: str
) -> None:
    wallet = await clocked.wallet()
    expires_at = fake_clock.now_ms + 60_000
    first, second = [await clocked.invoice(expires_at_ms=expires_at) for _ in range(2)]
    payment_id = await clocked.started(wallet, first)
    resend = commands.ResendCode(unrecorded(), payment_id, "alice", 2, 60_000)
    fake_clock.now_ms = expires_at + late_ms
    outcome = await clocked.run(ReadInvoice(second, None))
    assert outcome.value is not None
    assert outcome.value.status == ("open" if late_ms else "expired")
    assert (await clocked.start(wallet, second)).code == start
    if late_ms == 0:
        assert (await clocked.run(resend)).code == "invoice_expired"
    assert (await clocked.confirm(payment_id)).code == confirm


async def test_an_expired_code_is_told_before_an_expired_invoice(clocked: Setup, fake_clock: FakeClock) -> None:
    invoice = await clocked.invoice(expires_at_ms=fake_clock.now_ms + CODE_MS)
    payment_id = await clocked.started(await clocked.wallet(), invoice)
    fake_clock.advance(CODE_MS)
    assert (await clocked.confirm(payment_id)).code == "confirmation_expired"


async def test_a_payment_can_be_canceled_to_the_last_millisecond_of_its_code(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet = await clocked.wallet()
    first, second = [await clocked.started(wallet, await clocked.invoice()) for _ in range(2)]
    fake_clock.advance(CODE_MS - 1)
    assert (await clocked.cancel(first)).code == "ok"
    fake_clock.advance(1)
    assert (await clocked.cancel(second)).code == "payment_not_cancelable"


async def test_the_agenda_expires_a_payment_at_its_last_millisecond_and_not_before(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    payment_id = await clocked.started(await clocked.wallet(), await clocked.invoice())
    fake_clock.advance(CODE_MS - 1)
    assert (await take_due(clocked.store, 10)).next_in_ms == 1
    assert (await clocked.fields("payment", payment_id))["status"] == "requires_confirmation"
    fake_clock.advance(1)
    await take_due(clocked.store, 10)
    assert (await clocked.fields("payment", payment_id))["status"] == "expired"


async def test_a_settlement_claim_lasts_fifteen_seconds(clocked: Setup, fake_clock: FakeClock) -> None:
    payment_id, _ = await clocked.processing(await clocked.wallet())
    fake_clock.advance(14_999)
    assert (await take_due(clocked.store, 10)).payments == []
    fake_clock.advance(1)
    assert [taken.payment.id for taken in (await take_due(clocked.store, 10)).payments] == [payment_id]


async def test_an_operation_is_remembered_as_long_as_it_was_asked_for(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    who = operation(kept_ms=1_000)
    await clocked.run(CreateUser(who, "bob", None, "+15550100"))
    fake_clock.advance(999)
    await take_due(clocked.store, 10)
    assert (await clocked.run(CreateUser(who, "bob", None, "+15550100"))).replayed
    fake_clock.advance(1)
    await take_due(clocked.store, 10)
    assert (await clocked.run(CreateUser(who, "bob", None, "+15550100"))).code == "user_exists"


async def test_the_debit_is_dated_by_the_stores_clock(clocked: Setup, fake_clock: FakeClock) -> None:
    payment_id = await clocked.started(await clocked.wallet(), await clocked.invoice())
    fake_clock.advance(1_234)
    assert (await clocked.confirm(payment_id)).code == "ok"
    paid_at = (await clocked.payment(payment_id)).paid_at
    assert paid_at is not None
    assert round(paid_at.timestamp() * 1000) == fake_clock.now_ms
    fake_clock.advance(-3_600_000)
    await clocked.complete(payment_id, "1", "settled")
    assert (await clocked.payment(payment_id)).paid_at == paid_at
