"""Expiries, to the millisecond of the store's clock."""

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_commands import take_due
from support.fixtures.store_setup import CODE_MS, Setup, operation

from technopay.engine.commands import CreateUser


async def test_a_code_is_good_to_its_last_millisecond(clocked: Setup, fake_clock: FakeClock) -> None:
    wallet = await clocked.wallet()
    confirmed, canceled, late = [await clocked.started(wallet, await clocked.invoice()) for _ in range(3)]
    fake_clock.advance(CODE_MS - 1)
    assert (await take_due(clocked.store, 10)).next_in_ms == 1
    assert (await clocked.payment(late)).status == "requires_confirmation"
    assert (await clocked.confirm(confirmed)).code == "ok"
    assert (await clocked.cancel(canceled)).code == "ok"
    fake_clock.advance(1)
    assert (await clocked.payment(late)).status == "expired"
    assert (await clocked.confirm(late)).code == "confirmation_expired"
    assert (await clocked.cancel(late)).code == "payment_not_cancelable"
    assert (await clocked.fields("payment", late))["status"] == "requires_confirmation", "as it is stored"
    await take_due(clocked.store, 10)
    assert (await clocked.fields("payment", late))["status"] == "expired"
    accepted = await clocked.confirm(confirmed)
    assert (accepted.code, accepted.replayed) == ("ok", True), "an accepted code does not expire"


@pytest.mark.parametrize(("late_ms", "status", "code"), [(-1, "open", "ok"), (0, "expired", "invoice_expired")])
async def test_an_invoice_is_payable_to_its_last_millisecond(
    clocked: Setup, fake_clock: FakeClock, late_ms: int, status: str, code: str
) -> None:
    wallet = await clocked.wallet()
    expires_at = fake_clock.now_ms + 60_000
    first, second = [await clocked.invoice(expires_at_ms=expires_at) for _ in range(2)]
    payment_id = await clocked.started(wallet, first)
    fake_clock.now_ms = expires_at + late_ms
    assert (await clocked.read_invoice(second)).status == status
    assert (await clocked.start(wallet, second)).code == code
    assert (await clocked.confirm(payment_id)).code == code
    if late_ms == 0:
        assert (await clocked.resend(payment_id)).code == code


async def test_a_settlement_claim_lasts_fifteen_seconds(clocked: Setup, fake_clock: FakeClock) -> None:
    payment_id, _ = await clocked.processing(await clocked.wallet())
    fake_clock.advance(14_999)
    assert (await take_due(clocked.store, 10)).payments == []
    fake_clock.advance(1)
    assert [taken.payment.id for taken in (await take_due(clocked.store, 10)).payments] == [payment_id]


async def test_an_operation_is_kept_for_its_time(clocked: Setup, fake_clock: FakeClock) -> None:
    create = CreateUser(operation(kept_ms=1_000), "bob", None, "+15550100")
    await clocked.done(create)
    for passed_ms, code in ((999, "ok"), (1, "user_exists")):
        fake_clock.advance(passed_ms)
        await take_due(clocked.store, 10)
        again = await clocked.run(create)
        assert (again.code, again.replayed) == (code, code == "ok")


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
